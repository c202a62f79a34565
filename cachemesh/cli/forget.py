"""`cachemesh shard forget`: give up on a removed shard whose instance does not come back."""

from __future__ import annotations

import click

from cachemesh.cli.change import confirm, dry_run_option, end_dry_run, show_steps, yes_option
from cachemesh.cli.context import Session, connected
from cachemesh.cli.output import emit, printable, say
from cachemesh.core.names import check_name


@click.command()
@click.argument("name")
@yes_option
@dry_run_option
@connected
def forget(session: Session, name: str, yes: bool, dry_run: bool) -> None:
    """Give up on the removed shard NAME, which could not be emptied; Sentinels forget it."""
    path = session.path("sweeps", check_name("shard", name))
    plan = session.metaserver.request("DELETE", path, query={"dry_run": True})
    if dry_run:
        emit(session.output, plan, lambda: show_steps(plan))
        end_dry_run(True)
    confirm(f"forget shard {name}", plan["warnings"], yes)
    done = session.metaserver.request("DELETE", path)
    emit(session.output, done, lambda: click.echo(printable(f"done: {done['summary']}")))
    for warning in done["warnings"]:
        say(f"warning: {warning}")
