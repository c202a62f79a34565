"""`cachemesh sentinel`: lists what each Sentinel says about each shard; all are asked at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.output import emit
from cachemesh.cli.tables import Column, show, state, table
from cachemesh.cli.watchable import watchable
from cachemesh.discovery.survey import SentinelShardView, ask_sentinels

_COLUMNS = (
    Column("sentinel"),
    Column("state"),
    Column("error", rank=5, fit="end"),
    Column("shard", fit="middle"),
    Column("master"),
    Column("flags", rank=4, fit="end"),
    Column("quorum", right=True, rank=3),
    Column("replicas", right=True, rank=2),
    Column("other sentinels", right=True, rank=1),
)


@click.group(no_args_is_help=False)
def sentinel() -> None:
    """Sentinels: the processes that watch the masters and decide who is one."""


@sentinel.command("list")
@with_context
@watchable
def list_sentinels(context: CommandContext) -> None:
    """List what each Sentinel says about each shard of the pool."""
    document = context.document()
    names = document.placement.names
    answers = ask_sentinels(document, context.sentinel_options)
    said = [_entry(at, names, views) for at, views in answers.items()]
    data = {"sentinels": said}
    emit(context.output, data, lambda: _show(said, context.wide))


def _entry(
    address: str, names: Sequence[str], views: dict[str, SentinelShardView] | Exception
) -> dict[str, Any]:
    if isinstance(views, Exception):
        why = str(views) or type(views).__name__
        return {"address": address, "up": False, "error": why, "shards": []}
    shards = [_shard(name, views.get(name)) for name in names]
    return {"address": address, "up": True, "error": None, "shards": shards}


def _shard(name: str, view: SentinelShardView | None) -> dict[str, Any]:
    if view is None:
        return {"shard": name, "monitored": False}
    return {
        "shard": name,
        "monitored": True,
        "master": str(view.master),
        "flags": ",".join(view.flags),
        "quorum": view.quorum,
        "replicas": len(view.replicas),
        "other_sentinels": view.other_sentinels,
    }


def _show(said: Sequence[Mapping[str, Any]], wide: bool) -> None:
    rows: list[list[Any]] = []
    for entry in said:
        if not entry["up"]:
            rows.append([entry["address"], state("down"), entry["error"], *[None] * 6])
        for shard in entry["shards"]:
            fields = ("flags", "quorum", "replicas", "other_sentinels")
            says = shard["master"] if shard["monitored"] else "not monitored"
            rows.append(
                [entry["address"], state("up"), None, shard["shard"], says, *map(shard.get, fields)]
            )
    show(table(_COLUMNS, rows), wide=wide)
