"""`cachemesh pool pause` and `cachemesh pool resume`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from cachemesh.cli import completing
from cachemesh.cli.change import dry_run_option, end_dry_run, report, show_steps
from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext, about_pool
from cachemesh.cli.output import emit, printable

pool_name = click.argument("name", required=False, shell_complete=completing.pools)


@click.command()
@pool_name
@click.option("--reason", default="", metavar="TEXT", help="Why, for whoever looks at the pool.")
@dry_run_option
@with_context
def pause(context: CommandContext, name: str | None, reason: str, dry_run: bool) -> None:
    """Have the metaserver do nothing on a pool by itself until `resume`; apps are served."""
    context = about_pool(context, name)
    body = {"reason": reason, "dry_run": dry_run}
    done = context.metaserver.request("POST", context.path("pause"), body)
    _tell(context, done)


@click.command()
@pool_name
@dry_run_option
@with_context
def resume(context: CommandContext, name: str | None, dry_run: bool) -> None:
    """Go on with a pool that was paused."""
    context = about_pool(context, name)
    query = {"dry_run": dry_run}
    done = context.metaserver.request("DELETE", context.path("pause"), query=query)
    _tell(context, done)


def pause_line(pause: Mapping[str, Any]) -> str:
    """Return in one line who has paused a pool, since when and why.

    Args:
        pause: of a pool's status, or of its document.
    """
    state = pause.get("state", "paused")
    reason = f": {pause['reason']}" if pause.get("reason") else ""
    return printable(f"{state} by {pause.get('by')} since {pause.get('since')}{reason}")


def _tell(context: CommandContext, done: Mapping[str, Any]) -> None:
    if done["dry_run"]:
        emit(context.output, done, lambda: show_steps(done))
        end_dry_run(True)
    report(context, done)
