"""`cachemesh shard failover`: a replica takes over from a shard's master, and no write is lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from cachemesh.cli import completing
from cachemesh.cli.change import dry_run_option, end_dry_run, report, show_steps, show_warnings
from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.output import duration, emit, printable, say, size
from cachemesh.cli.param_types import Number
from cachemesh.core.names import check_name, parse_address

_FINISHED_WITHIN_S = 30.0
"""Seconds beyond the timeout that the metaserver may need to finish or undo the failover."""


@click.command()
@click.argument("name", shell_complete=completing.shards)
@click.option(
    "--to",
    "to",
    metavar="HOST:PORT",
    shell_complete=completing.replicas,
    help="The replica to promote [Sentinel chooses].",
)
@click.option(
    "--timeout",
    type=Number(1, 60),
    default=25.0,
    show_default=True,
    metavar="SECONDS",
    help="After this nothing more is begun.",
)
@click.option(
    "--now",
    is_flag=True,
    help="Do not wait, up to 10 s, for the moment at which Sentinel notices soonest.",
)
@click.option("-y", "--yes", is_flag=True, help="Taken as elsewhere; nothing is destroyed.")
@dry_run_option
@with_context
def failover(
    context: CommandContext,
    name: str,
    to: str | None,
    timeout: float,
    now: bool,
    yes: bool,
    dry_run: bool,
) -> None:
    """Have a replica take over from the master of shard NAME.

    Writes wait some tenths of a second, and none is lost. Ctrl-C does not stop it: the metaserver
    goes on to the end, or back.
    """
    path = context.path("shards", check_name("shard", name), "failover")
    body: dict[str, Any] = {"timeout": timeout, "hurry": now}
    if to is not None:
        body["to"] = str(parse_address(to))
    # A dry run first: it raises the error of a failover that is not possible.
    plan = context.metaserver.request("POST", path, {**body, "dry_run": True})
    if dry_run:
        emit(context.output, plan, lambda: _show_plan(plan))
        end_dry_run(True)
    say(f"failing over {name}, within {timeout + _FINISHED_WITHIN_S:g} s at most")
    try:
        done = context.metaserver.request("POST", path, body, timeout=timeout + _FINISHED_WITHIN_S)
    except KeyboardInterrupt:
        say(f"the metaserver goes on with {name} if it has begun; see how: cachemesh event list")
        raise
    report(context, done, lambda: _show_outcome(done["timings"]))


def _show_plan(plan: Mapping[str, Any]) -> None:
    show_steps(plan)
    for each in plan["candidates"]:
        click.echo(printable(f"replica {each['address']} is {size(each['lag_bytes'])} behind"))
    show_warnings(plan)


def _show_outcome(timings: Mapping[str, Any]) -> None:
    parts = [
        f"{words} {duration(timings[name] / 1000)}"
        for name, words in (
            ("resumed_ms", "writes waited"),
            ("announced_ms", "every Sentinel told the new master after"),
        )
        if timings[name] is not None
    ]
    if parts:
        click.echo("; ".join(parts))
