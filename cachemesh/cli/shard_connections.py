"""`cachemesh shard connections`: who is connected to a shard's master, by app."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from cachemesh.cli import completing
from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.output import emit, say, size
from cachemesh.cli.tables import Column, Table, show, table
from cachemesh.cli.watchable import watchable
from cachemesh.core.names import check_name
from cachemesh.core.plurals import counted

_GROUPS = (
    Column("owner"),
    Column("name", fit="middle"),
    Column("connections", right=True),
    Column("clients", right=True, rank=6),
    Column("hosts", right=True, rank=3),
    Column("users", rank=2, fit="middle"),
    Column("idle longest", right=True, rank=7),
    Column("output", right=True, rank=8),
    Column("blocked", right=True, rank=5),
    Column("subscribed", right=True, rank=4),
)
_SINGLE = (
    Column("id", right=True, rank=5),
    Column("owner", rank=3),
    Column("name", fit="middle"),
    Column("client", rank=6),
    Column("address"),
    Column("user", rank=2, fit="middle"),
    Column("last command", rank=8, fit="middle"),
    Column("age", right=True, rank=4),
    Column("idle", right=True),
    Column("output", right=True, rank=9),
    Column("waits", rank=1),
)


@click.command()
@click.argument("name", shell_complete=completing.shards)
@click.option(
    "--limit",
    type=click.IntRange(1, 128),
    default=20,
    show_default=True,
    help="At most so many that are idle longest, and that have large output.",
)
@with_context
@watchable
def connections(context: CommandContext, name: str, limit: int) -> None:
    """Show who is connected to a shard's master, by app, and what is idle longest.

    An app is known by the client_name that it has given. Output is what the server keeps of replies
    and messages that have not been taken yet; connections with 1 MiB of it or more are listed too.
    """
    path = context.path("shards", check_name("shard", name), "connections")
    data = context.metaserver.request("GET", path, query={"limit": limit})
    emit(context.output, data, lambda: _show(data, wide=context.wide))


def _show(data: Mapping[str, Any], *, wide: bool) -> None:
    if data["error"] is not None:
        say(f"master {data['instance'] or 'unknown'} does not tell: {data['error']}")
        return
    show(_groups(data["groups"]), wide=wide)
    if data["groups_left_out"]:
        say(f"and {data['groups_left_out']:,} more names, with fewer connections each")
    for heading, found in (("idle longest", data["idle"]), ("large output", data["large_output"])):
        if found:
            click.echo(f"\n{heading}\n")
            show(_single(found), wide=wide)
    say(f"master {data['instance']} has {counted(data['connections'], 'connection')}")


def _groups(groups: Iterable[Mapping[str, Any]]) -> Table:
    rows = [
        [
            each["owner"],
            each["name"] or None,
            each["connections"],
            each["clients"] or None,
            each["hosts"],
            each["users"],
            _seconds(each["idle_seconds"]),
            size(each["output_bytes"]),
            each["blocked"],
            each["subscribed"],
        ]
        for each in groups
    ]
    return table(_GROUPS, rows)


def _single(found: Iterable[Mapping[str, Any]]) -> Table:
    rows = [
        [
            str(each["id"]),
            each["owner"],
            each["name"] or None,
            each["client"],
            each["address"],
            each["user"],
            each["command"],
            _seconds(each["age_seconds"]),
            _seconds(each["idle_seconds"]),
            size(each["output_bytes"]),
            "blocked" if each["blocked"] else "subscribed" if each["subscribed"] else None,
        ]
        for each in found
    ]
    return table(_SINGLE, rows)


def _seconds(seconds: int) -> str:
    return f"{seconds:,} s"
