"""`cachemesh sentinel`: what each Sentinel says about each shard; adding and removing Sentinels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from cachemesh.cli import completing
from cachemesh.cli.change import ChangeFlags, PlannedChange, carry_out, change_options
from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.output import emit
from cachemesh.cli.tables import Column, show, state, table
from cachemesh.cli.watchable import watchable
from cachemesh.core.names import parse_address
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


@sentinel.command()
@click.argument("address", metavar="HOST:PORT")
@change_options
@with_context
def add(context: CommandContext, address: str, dry_run: bool, yes: bool, wait: float) -> None:
    """Have another Sentinel monitor the shards of the pool.

    Every client follows it from then on, without a restart. The quorum becomes a majority.
    """
    address = str(parse_address(address))
    change = PlannedChange(
        f"add Sentinel {address}", "POST", context.path("sentinels"), {"sentinel": address}
    )
    carry_out(context, change, ChangeFlags(dry_run, yes, wait))


@sentinel.command()
@click.argument("address", metavar="HOST:PORT", shell_complete=completing.sentinels)
@click.option(
    "--force",
    is_flag=True,
    help="Although it, or too many of the others, do not answer: their machines are gone for good.",
)
@change_options
@with_context
def remove(
    context: CommandContext, address: str, force: bool, dry_run: bool, yes: bool, wait: float
) -> None:
    """Have a Sentinel forget the shards of the pool, and the others forget the Sentinel.

    Each of the others is reset (SENTINEL RESET), one after the other, which takes some seconds.
    The quorum becomes a majority of those that are left.
    """
    address = str(parse_address(address))
    change = PlannedChange(
        f"remove Sentinel {address}",
        "DELETE",
        context.path("sentinels", address),
        query={"force": True} if force else {},
    )
    carry_out(context, change, ChangeFlags(dry_run, yes, wait))


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
