"""`cachemesh shard slowlog`: the commands that took longest of late, by instance."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import click

from cachemesh.cli import completing
from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.output import duration, emit, say
from cachemesh.cli.tables import Column, moment, show, table
from cachemesh.cli.watchable import watchable
from cachemesh.core.names import check_name

_COLUMNS = (
    Column("at", rank=4),
    Column("took", right=True),
    Column("instance"),
    Column("role", rank=2),
    Column("client", rank=3),
    Column("name", rank=1, fit="middle"),
    Column("command", fit="end", comfortable=40),
)


@click.command()
@click.argument("name", shell_complete=completing.shards)
@click.option(
    "--limit",
    type=click.IntRange(1, 128),
    default=20,
    show_default=True,
    help="At most so many of each instance, the latest.",
)
@with_context
@watchable
def slowlog(context: CommandContext, name: str, limit: int) -> None:
    """Show the commands that took longest of late, slowest first.

    Instances keep those that take longer than slowlog-log-slower-than. Their clocks tell when.
    """
    path = context.path("shards", check_name("shard", name), "slowlog")
    data = context.metaserver.request("GET", path, query={"limit": limit})
    emit(context.output, data, lambda: _show(data, wide=context.wide))


def _show(data: Mapping[str, Any], *, wide: bool) -> None:
    slowest_first = sorted(
        ((each, told) for told in data["instances"] for each in told["commands"]),
        key=lambda pair: (-pair[0]["seconds"], pair[0]["at"]),
    )
    rows = [
        [
            moment(each["at"]),
            duration(each["seconds"]),
            told["instance"],
            told["role"],
            each["client"],
            each["client_name"] or None,
            " ".join(map(shlex.quote, each["command"])),
        ]
        for each, told in slowest_first
    ]
    if rows:
        show(table(_COLUMNS, rows), wide=wide)
    elif any(told["error"] is None for told in data["instances"]):
        say("none of those that answer has a slow command in its log")
    for told in data["instances"]:
        if told["error"] is not None:
            say(f"{told['role']} {told['instance']} does not tell: {told['error']}")
