"""`cachemesh migration mark-lost`: go on with a resize without the data of a shard."""

from __future__ import annotations

import click

from cachemesh.cli import completing
from cachemesh.cli.change import (
    confirm,
    dry_run_option,
    end_dry_run,
    report,
    show_steps,
    yes_option,
)
from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.output import emit, printable
from cachemesh.core.names import check_name


@click.command("mark-lost")
@click.argument("shard", shell_complete=completing.shards)
@yes_option
@dry_run_option
@with_context
def mark_lost(context: CommandContext, shard: str, yes: bool, dry_run: bool) -> None:
    """Go on without the data of SHARD, whose servers are gone for good in the midst of a resize.

    What SHARD had still to give away are misses. If keys move to SHARD, `abort` comes first. Stop
    its servers before, if they may come back: as long as one is there, this is refused.
    """
    path = context.path("resize", "lost")
    body = {"shard": check_name("shard", shard)}
    plan = context.metaserver.request("POST", path, {**body, "dry_run": True})

    def show_it(err: bool = False) -> None:
        show_steps(plan, err=err)
        for item in plan["warnings"]:
            click.echo(printable(f"destroys: {item}"), err=err)

    if not plan["steps"]:
        emit(context.output, plan, lambda: click.echo("Nothing to change."))
        return
    if dry_run:
        emit(context.output, plan, show_it)
        end_dry_run(True)
    what = f"go on without the data of shard {shard}"
    confirm(what, plan["warnings"], yes, lambda: show_it(err=True))
    done = context.metaserver.request("POST", path, body)
    report(context, done, shown=plan["warnings"] if not yes else ())
