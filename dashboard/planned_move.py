"""What a dry run tells of the keys that will move, as the preview of a change shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cachemesh.core.plurals import counted
from dashboard.format import UNKNOWN, latency, number, percent, size
from dashboard.upstream import Json

_SHOWN = 60  # characters of a key


@dataclass(frozen=True)
class ShownEstimate:
    """A number from a sample.

    Attributes:
        text: the estimate.
        bounds: within which it is for certain, or nearly; "" where it is exact or not known.
    """

    text: str
    bounds: str = ""


@dataclass(frozen=True)
class PairRow:
    """What one shard gives another.

    Attributes:
        amount: slots, or which part of all keys.
    """

    source: str
    target: str
    amount: str
    keys: ShownEstimate
    bytes: ShownEstimate


@dataclass(frozen=True)
class MemoryRow:
    """The memory of a shard before and after.

    Attributes:
        most: its maxmemory.
        full: whether it may need more; a warning of the plan says what comes of that.
    """

    shard: str
    now: str
    after: ShownEstimate
    most: str
    policy: str
    full: bool


@dataclass(frozen=True)
class BigKeyRow:
    """A big key that moves.

    Attributes:
        blocks: for how long its shards serve nobody else.
    """

    key: str
    size: str
    kind: str
    source: str
    target: str
    blocks: str


@dataclass(frozen=True)
class PlannedMove:
    """All that will move.

    Attributes:
        in_slots: whether the amounts of `pairs` are slots.
        looked_at: what the estimates were made from.
        takes: how long.
        rests_on: what that was made from; "" if nothing was tried.
        felt: what apps will feel, in sentences.
    """

    in_slots: bool
    pairs: tuple[PairRow, ...]
    keys: ShownEstimate
    bytes: ShownEstimate
    looked_at: str
    takes: ShownEstimate
    rests_on: str
    memory: tuple[MemoryRow, ...]
    big_keys: tuple[BigKeyRow, ...]
    felt: tuple[str, ...]


def planned_move(plan: Json) -> PlannedMove | None:
    """Return what a plan moves; None if it moves no keys.

    Args:
        plan: the reply to a dry run, as docs/api.md shows it.
    """
    told: Json | None = plan.get("migration")
    if told is None:
        return None
    in_slots = bool(plan["moved_slots"])
    amounts = {
        (move["source"], move["target"]): number(move["slots"])
        if in_slots
        else percent(move.get("share"))
        for move in plan["moves"]
    }
    pairs = tuple(
        PairRow(
            each["source"],
            each["target"],
            amounts.get((each["source"], each["target"]), UNKNOWN),
            _estimate(each["keys"], number),
            _estimate(each["bytes"], size),
        )
        for each in told["pairs"]
    )
    return PlannedMove(
        in_slots,
        pairs,
        _estimate(told["keys"], number),
        _estimate(told["bytes"], size),
        _looked_at(told),
        _estimate(told["seconds"], latency),
        told["rests_on"],
        tuple(map(_memory_row, told["memory"])),
        tuple(map(_big_key_row, told["big_keys"])),
        tuple(told["feel"]),
    )


def _estimate(told: Json | None, shown: Callable[[float], str]) -> ShownEstimate:
    if told is None:
        return ShownEstimate(UNKNOWN)
    value, low, high = (shown(told[name]) for name in ("estimate", "low", "high"))
    return ShownEstimate(value) if low == high else ShownEstimate(value, f"{low} to {high}")


def _looked_at(told: Json) -> str:
    """Return how many keys were looked at, and how certain that makes the rest."""
    looked_at = sum(source["looked_at"] for source in told["sources"])
    silent = [source["shard"] for source in told["sources"] if source["keys"] is None]
    if silent:
        return f"{number(looked_at)} keys were looked at, none of {', '.join(silent)}."
    if all(source["complete"] for source in told["sources"]):
        return f"All {counted(looked_at, 'key')} of the shards that lose some were looked at."
    of = sum(source["keys"] for source in told["sources"])
    more = "there may be more big keys" if told["big_keys"] else "none of them is big"
    seen = f"{number(looked_at)} of {counted(of, 'key')} were looked at; {more}."
    return f"{seen} Bounds hold in 95% of all cases."


def _memory_row(told: Json) -> MemoryRow:
    after, most = told["after"], told["maxmemory"]
    full = after is not None and bool(most) and after["high"] > most
    return MemoryRow(
        told["shard"],
        size(told["used"]),
        _estimate(after, size),
        UNKNOWN if most is None else size(most) if most else "no bound",
        told["policy"] or UNKNOWN,
        full,
    )


def _big_key_row(told: Json) -> BigKeyRow:
    key = "".join(each if each.isprintable() else "\ufffd" for each in told["key"])
    return BigKeyRow(
        key if len(key) <= _SHOWN else f"{key[:_SHOWN]}\N{HORIZONTAL ELLIPSIS}",
        size(told["bytes"]),
        told["type"],
        told["source"],
        told["target"],
        latency(told["blocks_seconds"]),
    )
