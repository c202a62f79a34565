"""How the CLI shows what a resize moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from cachemesh.cli.output import duration as span
from cachemesh.cli.output import percent, printable, show_fields, size
from cachemesh.cli.tables import Cell, Column, Table, show, table
from cachemesh.core.plurals import counted

Json = Mapping[str, Any]

_PAIR = (Column("from", fit="middle"), Column("to", fit="middle"))
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


def moves_table(plan: Json) -> Table:
    """Return who gives how many slots to whom; where there are none, which part of the keys."""
    amount, amount_of = _amount(plan)
    rows = [(move["source"], move["target"], amount_of(move)) for move in plan["moves"]]
    return table((*_PAIR, amount), rows)


def moved_in_words(plan: Json) -> str:
    """Return how many slots move, or which part of the keys."""
    share = percent(plan["moved_share"])
    if plan["moved_slots"]:
        return f"{counted(plan['moved_slots'], 'slot')} ({share})"
    return f"{share} of all keys"


def _amount(plan: Json) -> tuple[Column, Callable[[Json], object]]:
    """Return the column of how much a move is, and its value of a move."""
    if plan["moved_slots"]:
        return Column("slots", right=True, rank=1), itemgetter("slots")
    return Column("share", right=True, rank=1), lambda move: percent(move.get("share"))


def show_migration(plan: Json, *, err: bool = False) -> None:
    """Print what will move between shards, their memory, and the big keys.

    Args:
        plan: the reply to a dry run that moves keys.
        err: print on stderr.
    """
    migration = plan["migration"]
    amount, amount_of = _amount(plan)
    amounts = {(move["source"], move["target"]): amount_of(move) for move in plan["moves"]}
    pairs = [
        (
            pair["source"],
            pair["target"],
            amounts.get((pair["source"], pair["target"])),
            _estimated(pair["keys"], _count),
            _estimated(pair["bytes"], size),
        )
        for pair in migration["pairs"]
    ]
    columns = (*_PAIR, amount, Column("keys", right=True), Column("bytes", right=True))
    show(table(columns, pairs), err=err)
    show_fields(_in_all(plan), err=err)
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
    show_fields([("clients", told) for told in migration["feel"]], err=err)


def _in_all(plan: Json) -> list[tuple[str, object]]:
    """Return what moves between all shards together, and how long that takes."""
    migration = plan["migration"]
    fields: list[tuple[str, object]] = [
        ("moves", moved_in_words(plan)),
        ("keys", _estimated(migration["keys"], _count).full),
        ("bytes", _estimated(migration["bytes"], size).full),
        ("looked at", _sampled(migration)),
        ("takes", _estimated(migration["seconds"], span).full),
    ]
    return [*fields, ("", migration["rests_on"])] if migration["rests_on"] else fields


def _sampled(migration: Json) -> str:
    """Return how many keys were looked at, and whether big keys may be missing."""
    looked_at = sum(source["looked_at"] for source in migration["sources"])
    over = size(migration["big_key"])
    if all(source["complete"] for source in migration["sources"]):
        big = "" if migration["big_keys"] else f"; none that moves has {over}"
        return f"all {counted(looked_at, 'key')}{big}"
    of = sum(source["keys"] or 0 for source in migration["sources"])
    big = "there may be more big keys" if migration["big_keys"] else f"none of {over} among them"
    return f"{looked_at:,} of {counted(of, 'key')}, bounds are of 95%; {big}"


def _estimated(told: Json | None, shown: Callable[[Any], str]) -> Cell:
    """Return the cell of an estimate, with its bounds unless it is exact."""
    if told is None:
        return Cell("not known", "?")
    value, low, high = (shown(told[name]) for name in ("estimate", "low", "high"))
    if told["low"] == told["high"]:
        return Cell(value, value)
    return Cell(f"{value} ({low} to {high})", f"~{value}")


def _count(number: int) -> str:
    return f"{number:,}"
