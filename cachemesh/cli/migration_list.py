"""`cachemesh migration list`: resizes of all pools, those under way and those that ended lately."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext, about_pool
from cachemesh.cli.migration_ends import ResizeEnd, ends
from cachemesh.cli.migration_tables import Resize, phase
from cachemesh.cli.output import emit, percent
from cachemesh.cli.tables import Cell, Column, moment, show, state, table
from cachemesh.cli.watchable import watchable
from cachemesh.core.errors import PoolNotFoundError
from cachemesh.discovery.metaserver_request import Query

_EVENTS = 1000  # the last ones, in which ends are looked for
_COLUMNS = (
    Column("pool", fit="middle"),
    Column("migration", fit="end", comfortable=30),
    Column("state", fit="end", comfortable=20),
    Column("moved", right=True),
    Column("ended"),
    Column("asked for by", fit="middle", rank=1),
)


@click.command("list")
@click.option("--limit", type=click.IntRange(0, _EVENTS), default=20, show_default=True)
@with_context
@watchable
def list_migrations(context: CommandContext, limit: int) -> None:
    """List the migrations under way, and the last ones that ended, newest first.

    Those of all pools that the token may see, if none is named by --pool. Ends are looked for in
    the last 1,000 events.
    """
    pool = context.options.pool
    going = _under_way(context, pool)
    query: Query = {"limit": _EVENTS} if pool is None else {"limit": _EVENTS, "pool": pool}
    events = context.metaserver.request("GET", "/v1/events", query=query)["events"]
    ended = ends(events)[:limit]
    data = {
        "under_way": [{"pool": name, **resize} for name, resize in going.items()],
        "ended": [asdict(each) for each in ended],
    }
    rows = [*(_row_of(name, each) for name, each in going.items()), *map(_row_of_end, ended)]
    emit(context.output, data, lambda: show(table(_COLUMNS, rows), wide=context.wide))


def _under_way(context: CommandContext, pool: str | None) -> dict[str, Resize]:
    """Return the resize of each pool that has one under way."""
    if pool is not None:
        names = [pool]
    else:
        found = context.metaserver.request("GET", "/v1/pools")["pools"]
        names = [each["pool"] for each in found]
    going = dict[str, Resize]()
    for name in names:
        try:
            resize: Mapping[str, Any] | None = about_pool(context, name).get("status")["resize"]
        except PoolNotFoundError:
            if name == pool:
                raise
            continue  # it was just deleted
        if resize is not None:
            going[name] = resize
    return going


def _row_of(pool: str, resize: Resize) -> list[object]:
    told = phase(resize)
    if resize["share"] is not None:
        told += f" {percent(resize['share'])}"
    moved = resize["moved"] if resize["strategy"] == "move" else None
    return [pool, resize["summary"], Cell(told, told, "yellow"), moved, "-", resize["actor"]]


def _row_of_end(end: ResizeEnd) -> list[object]:
    if end.how == "done":
        how = state("done")
    else:
        told = f"{end.how} by {end.given_up_by}" if end.given_up_by else end.how
        how = Cell(told, told, "red")
    moved = end.moved if end.strategy == "move" else None
    return [end.pool, end.summary, how, moved, moment(end.at), end.asked_by]
