"""Lays out the slot map: which shard owns which slots, in rows that stay readable.

slot 0 | cache-0 | cache-1 | cache-2 |      one row for up to `PER_ROW` shards, at most
       | cache-3 | cache-4 | cache-5 |      `MOST_ROWS` rows
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cachemesh.core.placement.keys import SLOT_COUNT
from dashboard.format import number, percent

PER_ROW = 25
MOST_ROWS = 8
HUES = 8  # colours, used in turn
MOST_SEGMENTS = 1200
"""With more, neighbours that are too narrow to be seen are drawn as one."""

_CELL = 8  # slots that are drawn as one then
_WIDE = 1000  # pixels that a row has on a wide screen
_LETTER, _MARGIN = 7, 8  # pixels

Range = tuple[int, int]
"""The first and the last slot of a run."""


@dataclass(frozen=True)
class MapSegment:
    """A run of slots in one row that one shard owns.

    Attributes:
        shard: the owner.
        text: owner, slots, share and state in words.
        label: what is written on it, or "" where that has no room.
        row: from 0 on.
        start, width: in percent of the row.
        hue: the number of the owner's colour.
        state: of the owner.
        moves: whether the owner gains or loses these slots.
    """

    shard: str
    text: str
    label: str
    row: int
    start: float
    width: float
    hue: int
    state: str
    moves: bool


@dataclass(frozen=True)
class MappedShard:
    """A shard as the map takes it.

    Attributes:
        hue: the number of its colour.
        share: of the slots or keys, 0 to 1.
        slots: its ranges; empty where the placement has no slots.
    """

    name: str
    hue: int
    state: str
    share: float
    slots: tuple[Range, ...] = ()


@dataclass(frozen=True)
class SlotMap:
    """The whole map.

    Attributes:
        rows: how many.
        per_row: slots in one.
        in_slots: whether there are slots; else each shard's share of the keys is drawn.
        prefix: what all names begin with, and labels leave out.
        segments: in order.
        shards: in the pool's order.
        owners: each shard's name, with all that it owns in words.
        down: the names of shards that are down.
    """

    rows: int
    per_row: int
    in_slots: bool
    prefix: str
    segments: tuple[MapSegment, ...]
    shards: tuple[MappedShard, ...]
    owners: tuple[tuple[str, str], ...]
    down: tuple[str, ...]


def slot_map(shards: Sequence[MappedShard], former: Mapping[int, str] | None = None) -> SlotMap:
    """Lay out the map of a pool.

    Args:
        shards: in the pool's order.
        former: slot -> owner on the other side of a change; owners that differ are marked. Slots
            that it leaves out are taken for unchanged.
    """
    in_slots = any(shard.slots for shard in shards)
    ranges = _ranges(shards) if in_slots else _shares(shards)
    rows = max(1, min(MOST_ROWS, math.ceil(len(shards) / PER_ROW)))
    per_row = math.ceil(SLOT_COUNT / rows)
    names = [shard.name for shard in shards]
    roomy = rows == 1 and all(_fits(name, 100 / len(names)) for name in names)
    prefix = "" if roomy else common_prefix(names)
    pieces = _in_rows(_marked(ranges, former or {}), per_row)
    if len(pieces) > MOST_SEGMENTS:
        pieces = _in_rows(_coarse(pieces), per_row)
    by_name = {shard.name: shard for shard in shards}
    words = {shard.name: _words(shard) for shard in shards}
    return SlotMap(
        rows=rows,
        per_row=per_row,
        in_slots=in_slots,
        prefix=prefix,
        segments=tuple(
            _segment(by_name[owner], words[owner], first, last, moves, per_row, prefix)
            for owner, first, last, moves in pieces
        ),
        shards=tuple(shards),
        owners=tuple(words.items()),
        down=tuple(shard.name for shard in shards if shard.state == "down"),
    )


def owners_of(ranges: Mapping[str, Sequence[Range]]) -> dict[int, str]:
    """Return slot -> owner, for the map on the other side of a change."""
    return {
        slot: name
        for name, owned in ranges.items()
        for first, last in owned
        for slot in range(first, last + 1)
    }


def common_prefix(names: Sequence[str]) -> str:
    """Return what all names begin with, up to a separator, if something is left of each."""
    if len(names) < 2:
        return ""
    first, last = min(names), max(names)  # what these two share, all between them do
    same = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    shared = first[:same]
    end = max(shared.rfind(separator) for separator in "-._") + 1
    return shared[:end] if all(len(name) > end for name in names) else ""


_Run = tuple[str, int, int, bool]  # owner, first slot, last slot, whether it moves


def _ranges(shards: Sequence[MappedShard]) -> list[_Run]:
    runs = [(shard.name, first, last, False) for shard in shards for first, last in shard.slots]
    return sorted(runs, key=lambda run: run[1])


def _shares(shards: Sequence[MappedShard]) -> list[_Run]:
    """Return runs of the length of each share, end to end, where there are no slots."""
    runs, start = [], 0.0
    for shard in shards:
        first, end = round(start), round(start + shard.share * SLOT_COUNT)
        if end > first:
            runs.append((shard.name, first, min(end, SLOT_COUNT) - 1, False))
        start += shard.share * SLOT_COUNT
    return runs


def _marked(runs: Sequence[_Run], former: Mapping[int, str]) -> list[_Run]:
    """Cut runs where slots that move begin and end."""
    if not former:
        return list(runs)
    cut: list[_Run] = []
    for owner, first, last, _ in runs:
        begin, moves = first, former.get(first, owner) != owner
        for slot in range(first + 1, last + 1):
            now = former.get(slot, owner) != owner
            if now != moves:
                cut.append((owner, begin, slot - 1, moves))
                begin, moves = slot, now
        cut.append((owner, begin, last, moves))
    return cut


def _in_rows(runs: Sequence[_Run], per_row: int) -> list[_Run]:
    """Cut runs where a row ends."""
    cut = []
    for owner, first, last, moves in runs:
        while first // per_row != last // per_row:
            end = (first // per_row + 1) * per_row - 1
            cut.append((owner, first, end, moves))
            first = end + 1
        cut.append((owner, first, last, moves))
    return cut


def _coarse(runs: Sequence[_Run]) -> list[_Run]:
    """Give each cell of some slots to whom most of them belong, and join equal neighbours."""
    cells: dict[int, dict[tuple[str, bool], int]] = {}
    for owner, first, last, moves in runs:
        for slot in range(first, last + 1):
            votes = cells.setdefault(slot // _CELL, {})
            votes[owner, moves] = votes.get((owner, moves), 0) + 1
    joined: list[_Run] = []
    for cell, votes in sorted(cells.items()):
        owner, moves = max(votes, key=lambda key: votes[key])
        first, last = cell * _CELL, min(cell * _CELL + _CELL, SLOT_COUNT) - 1
        before = joined[-1] if joined else None
        if before and (before[0], before[2] + 1, before[3]) == (owner, first, moves):
            joined[-1] = (owner, before[1], last, moves)
        else:
            joined.append((owner, first, last, moves))
    return joined


def _segment(
    shard: MappedShard, words: str, first: int, last: int, moves: bool, per_row: int, prefix: str
) -> MapSegment:
    row, width = first // per_row, (last - first + 1) / per_row * 100
    label = shard.name.removeprefix(prefix)
    return MapSegment(
        shard=shard.name,
        text=f"{words}{'; these slots move' if moves else ''}",
        label=label if _fits(label, width) else "",
        row=row,
        start=(first - row * per_row) / per_row * 100,
        width=width,
        hue=shard.hue,
        state=shard.state,
        moves=moves,
    )


def _fits(label: str, width: float) -> bool:
    """Return whether there is room for a label.

    Args:
        width: in percent of a row.
    """
    return width / 100 * _WIDE >= len(label) * _LETTER + _MARGIN


def _words(shard: MappedShard) -> str:
    """Say what a shard owns: `cache-3, slots 0 to 81 and 400, 0.5%, down`."""
    parts = [shard.name]
    if shard.slots:
        runs = [
            number(first) if first == last else f"{number(first)} to {number(last)}"
            for first, last in sorted(shard.slots)
        ]
        shown = runs if len(runs) <= 4 else [*runs[:3], f"{len(runs) - 3} more ranges"]
        parts.append(f"slots {' and '.join(shown)}")
    parts += [percent(shard.share), shard.state]
    return ", ".join(parts)
