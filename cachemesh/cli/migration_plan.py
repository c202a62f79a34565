"""How the CLI shows the plan of a resize that moves keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from cachemesh.cli.output import percent, printable, size
from cachemesh.cli.tables import Cell, Column, show, table
from cachemesh.core.plurals import counted

Json = Mapping[str, Any]

_PAIRS = (
    Column("from", fit="middle"),
    Column("to", fit="middle"),
    Column("slots", right=True, rank=1),
    Column("keys", right=True),
    Column("bytes", right=True),
)
_MEMORY = (
    Column("shard", fit="middle"),
    Column("memory now", right=True),
    Column("after", right=True),
    Column("maxmemory", right=True),
    Column("policy", rank=1),
)
_BIG_KEYS = (
    Column("big key", fit="middle"),
    Column("bytes", right=True),
    Column("type"),
    Column("from", fit="middle", rank=2),
    Column("to", fit="middle", rank=1),
)


def show_migration(plan: Json, *, err: bool = False) -> None:
    """Print what will move between shards, their memory, and the big keys.

    Args:
        plan: the reply to a dry run that moves keys.
        err: print on stderr.
    """
    migration = plan["migration"]
    slots = {(move["source"], move["target"]): move["slots"] for move in plan["moves"]}
    pairs = [
        (
            pair["source"],
            pair["target"],
            slots.get((pair["source"], pair["target"]), 0),
            _estimated(pair["keys"], _count),
            _estimated(pair["bytes"], size),
        )
        for pair in migration["pairs"]
    ]
    show(table(_PAIRS, pairs), err=err)
    click.echo(
        f"moves: {counted(plan['moved_slots'], 'slot')} ({percent(plan['moved_share'])})", err=err
    )
    click.echo(f"keys:  {_estimated(migration['keys'], _count).full}", err=err)
    click.echo(f"bytes: {_estimated(migration['bytes'], size).full}", err=err)
    click.echo(_sampled(migration), err=err)
    memory = [
        (
            shard["shard"],
            size(shard["used"]),
            _estimated(shard["after"], size),
            size(shard["maxmemory"]) if shard["maxmemory"] else "-",
            shard["policy"],
        )
        for shard in migration["memory"]
    ]
    show(table(_MEMORY, memory), err=err)
    if migration["big_keys"]:
        rows = [
            (printable(key["key"]), size(key["bytes"]), key["type"], key["source"], key["target"])
            for key in migration["big_keys"]
        ]
        show(table(_BIG_KEYS, rows), err=err)


def _sampled(migration: Json) -> str:
    """Return how many keys were looked at, and whether big keys may be missing."""
    looked_at = sum(source["looked_at"] for source in migration["sources"])
    over = size(migration["big_key"])
    if all(source["complete"] for source in migration["sources"]):
        big = "" if migration["big_keys"] else f"; none that moves has {over}"
        return f"looked at: all {counted(looked_at, 'key')}{big}"
    of = sum(source["keys"] or 0 for source in migration["sources"])
    big = "there may be more big keys" if migration["big_keys"] else f"none of {over} among them"
    return f"looked at: {looked_at:,} of {counted(of, 'key')}, bounds are of 95%; {big}"


def _estimated(told: Json | None, shown: Callable[[int], str]) -> Cell:
    """Return the cell of an estimate, with its bounds unless it is exact."""
    if told is None:
        return Cell("not known", "?")
    value, low, high = (shown(told[name]) for name in ("estimate", "low", "high"))
    if told["low"] == told["high"]:
        return Cell(value, value)
    return Cell(f"{value} ({low} to {high})", f"~{value}")


def _count(number: int) -> str:
    return f"{number:,}"
