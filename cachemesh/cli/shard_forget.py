"""`cachemesh shard forget`: end the sweep of a removed shard whose instance does not come back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from cachemesh.cli import completing
from cachemesh.cli.change import (
    confirm,
    dry_run_option,
    end_dry_run,
    report,
    show_steps,
    show_warnings,
    yes_option,
)
from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.output import emit
from cachemesh.core.names import check_name


@click.command()
@click.argument("name", shell_complete=completing.shards)
@yes_option
@dry_run_option
@with_context
def forget(context: CommandContext, name: str, yes: bool, dry_run: bool) -> None:
    """Give up on the removed shard NAME, which could not be emptied; Sentinels forget it."""
    path = context.path("sweeps", check_name("shard", name))
    plan = context.metaserver.request("DELETE", path, query={"dry_run": True})
    if dry_run:
        emit(context.output, plan, lambda: _show_plan(plan))
        end_dry_run(True)
    confirm(f"forget shard {name}", plan["warnings"], yes)
    done = context.metaserver.request("DELETE", path)
    report(context, done)


def _show_plan(plan: Mapping[str, Any]) -> None:
    show_steps(plan)
    show_warnings(plan)
