"""`cachemesh pool history`: the figures of a pool, or of one shard, of the last day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from cachemesh.cli import completing
from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext, about_pool
from cachemesh.cli.output import emit, latency, percent, say, size
from cachemesh.cli.param_types import since
from cachemesh.cli.tables import Column, moment, show, table

_COLUMNS = (
    Column("at"),
    *("ops/s>", "hit ratio>", "memory>", "keys>"),
    *(Column("evicted/s", right=True, rank=1), Column("clients", right=True, rank=2)),
    *("behind>", "errors/s>"),
    *(Column("p50", right=True, rank=3), "p99>"),
)


@click.command("history")
@click.argument("name", required=False, shell_complete=completing.pools)
@click.option("--shard", metavar="NAME", shell_complete=completing.shards, help="Of this shard.")
@click.option(
    "--since",
    metavar="WHEN",
    callback=since,
    default="1h",
    show_default=True,
    help="Such as 5m, 1d or 2026-01-31T12:00 (UTC); a day ago at most.",
)
@click.option(
    "--step",
    type=click.IntRange(5, 86_400),
    metavar="SECONDS",
    default=60,
    show_default=True,
    help="Of each line; 60 or more where that is more than an hour ago.",
)
@with_context
def history(
    context: CommandContext, name: str | None, shard: str | None, since: str, step: int
) -> None:
    """Show the figures of a pool, or of one shard, of the last hour or day."""
    pool = about_pool(context, name)
    query: dict[str, str | int | bool] = {"since": since, "step": step}
    if shard is not None:
        query["shard"] = shard
    data = pool.metaserver.request("GET", pool.path("history"), query=query)
    emit(context.output, data, lambda: _show(data["points"], wide=context.wide))
    if not data["points"]:
        say("nothing is known of this time")


def _show(points: Sequence[Mapping[str, Any]], *, wide: bool) -> None:
    rows = [
        (
            moment(each["at"]),
            _figure(each["ops_per_second"]),
            percent(each["hit_ratio"]),
            size(each["used_memory"]),
            each["keys"],
            _figure(each["evictions_per_second"]),
            each["clients"],
            size(each["lag_bytes"]),
            _figure(each["errors_per_second"]),
            latency(each["p50"]),
            latency(each["p99"]),
        )
        for each in points
    ]
    show(table(_COLUMNS, rows), wide=wide)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"
