"""`cachemesh event`: lists changes and who made them, and what the system did by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import yaml

from cachemesh.cli import completing
from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.output import Output, emit, printable, say
from cachemesh.cli.param_types import since
from cachemesh.cli.tables import Cell, Column, moment, show, table
from cachemesh.core.errors import MetaserverUnavailableError

_RECONNECT_S = 1.0
_MOST = 1000
_COLUMNS = (
    Column("id", right=True, rank=1),
    Column("at"),
    Column("actor", rank=2, fit="middle"),
    Column("action"),
    Column("on", fit="middle"),
    Column("detail", fit="end", comfortable=48),  # stays longer than the actor
)


@click.group(no_args_is_help=False)
def event() -> None:
    """Events: every change, with who made it."""


@event.command("list")
@click.option("--limit", type=click.IntRange(1, _MOST), default=100, show_default=True)
@click.option(
    "--since", metavar="WHEN", callback=since, help="Such as 45m, 7d or 2026-01-31T12:00 (UTC)."
)
@click.option(
    "--shard",
    metavar="NAME",
    shell_complete=completing.shards,
    help="About this shard and its replicas alone.",
)
@click.option("--action", metavar="ACTION", help="Such as shard.down; shard: all of shards.")
@click.option("--grep", "text", metavar="TEXT", help="With this text in it; case does not count.")
@click.option("--follow", is_flag=True, help="Keep printing new events of the pool, until Ctrl-C.")
@with_context
def list_events(context: CommandContext, limit: int, follow: bool, **filters: str | None) -> None:
    """List the last events, oldest first; those of all pools if none is named."""
    pool = context.pool if follow else context.pool_or_none
    wanted: dict[str, str | int | bool] = {
        name: value for name, value in {"pool": pool, **filters}.items() if value is not None
    }
    newest_first = _events(context, wanted, 0, limit)
    if pool is not None and not newest_first:
        context.get()  # every pool has events; one without does not exist, and this raises
    events = list(reversed(newest_first))
    if not follow:
        emit(context.output, {"events": events}, lambda: _show(events, context))
        return
    last = 0
    for item in events:
        _print_one(context.output, item)
        last = item["id"]
    for item in _following(context, context.pool, wanted, last):
        _print_one(context.output, item)


def _events(
    context: CommandContext, wanted: Mapping[str, str | int | bool], after: int, limit: int
) -> list[dict[str, Any]]:
    query = {**wanted, "limit": limit, "after": after}
    answer = context.metaserver.request("GET", "/v1/events", query=query)
    found: list[dict[str, Any]] = answer["events"]
    return found


def _new(
    context: CommandContext, wanted: Mapping[str, str | int | bool], last: int
) -> list[dict[str, Any]]:
    """Return all events after one, oldest first: there may be more than one answer has."""
    found = page = _events(context, wanted, last, _MOST)
    while len(page) == _MOST:
        page = _events(context, {**wanted, "before": page[-1]["id"]}, last, _MOST)
        found += page
    return found[::-1]


def _following(
    context: CommandContext, pool: str, wanted: Mapping[str, str | int | bool], last: int
) -> Iterator[Mapping[str, Any]]:
    """Yield new events for ever, each once and in order, and reconnect when the stream ends."""
    while True:
        try:
            opened = False
            for name, _ in context.metaserver.stream("/v1/stream", {"pool": pool}):
                # The stream only says when to ask: one question also brings what happened while
                # no stream was open.
                if name == "event" or not opened:
                    opened = True
                    for item in _new(context, wanted, last):
                        last = max(last, item["id"])
                        yield item
            say("the stream ended; connecting again")
        except MetaserverUnavailableError as error:
            say(f"{error}; trying again")
        time.sleep(_RECONNECT_S)


def _show(events: Sequence[Mapping[str, Any]], context: CommandContext) -> None:
    pool = context.pool_or_none
    rows = [
        [
            str(e["id"]),
            moment(e["at"]),
            e["actor"],
            e["action"],
            Cell(_subject(e), e["target"] or e["pool"] if e["pool"] == pool else _subject(e)),
            e["detail"],
        ]
        for e in events
    ]
    show(table(_COLUMNS, rows), wide=context.wide)


def _subject(item: Mapping[str, Any]) -> str:
    return "/".join(str(item[field]) for field in ("pool", "target") if item.get(field)) or "-"


def _print_one(output: Output, item: Mapping[str, Any]) -> None:
    if output == "json":
        click.echo(json.dumps(item))
    elif output == "yaml":
        click.echo(yaml.safe_dump([item], sort_keys=False), nl=False)
    else:
        words = (item["at"], item["actor"], item["action"], _subject(item), item["detail"] or "")
        click.echo(printable("  ".join(str(word) for word in words)))
