"""`cachemesh key scan`: which keys there are."""

from __future__ import annotations

from typing import Any

import click

from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.escapes import escaped_option, parse_bytes, shown
from cachemesh.cli.output import emit, say
from cachemesh.cli.tables import Column, show, table

_AT_ONCE = 1000  # keys that a shard looks at in one step; it serves others between two
_COLUMNS = (Column("key", fit="middle", comfortable=60), Column("shard", rank=1, fit="middle"))


@click.command()
@click.argument("pattern", required=False)
@click.option("--type", "kind", metavar="TYPE", help="Of this type alone, such as hash or zset.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=1000,
    show_default=True,
    help="End after so many keys.",
)
@escaped_option
@with_context
def scan(
    context: CommandContext, pattern: str | None, kind: str | None, limit: int, escaped: bool
) -> None:
    """List keys, those that match PATTERN (`user:*`, as SCAN's MATCH), in no order.

    Goes through all shards by SCAN, which blocks none of them. With `-o json`, a key whose bytes
    are no printable text is written as --escaped reads it.
    """
    match = None if pattern is None else parse_bytes(pattern, escaped)
    found: dict[bytes, str] = {}
    complete = True
    with context.client() as client:
        for raw in client.scan_iter(match=match, count=_AT_ONCE, _type=kind):
            if raw in found:
                continue
            if len(found) == limit:
                complete = False
                break
            found[raw] = client.shard_for(raw)
    keys = [{"key": shown(raw), "shard": shard} for raw, shard in found.items()]
    emit(context.output, {"keys": keys, "complete": complete}, lambda: _show(keys, context.wide))
    if not complete:
        say(f"these are the first {limit:,}; there are more: --limit N")


def _show(keys: list[dict[str, Any]], wide: bool) -> None:
    if keys:
        show(table(_COLUMNS, [[each["key"], each["shard"]] for each in keys]), wide=wide)
    else:
        say("no such key")
