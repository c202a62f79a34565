"""What each Sentinel says about each shard, side by side, and where that differs.

A row is a shard, a column a Sentinel: there are many of the first and few of the others. What is
odd in a cell is a mark: a word or two with an icon. Shards about which Sentinels differ come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from dashboard.format import parse_time
from dashboard.upstream import Json


@dataclass(frozen=True)
class CellMark:
    """What is odd in a cell.

    Attributes:
        level: picks icon and colour.
        words: what is odd, in one or a few.
        why: more about it, or "".
    """

    level: Literal["down", "degraded", "info"]
    words: str
    why: str = ""


_ORDINARY = "master"
_FLAGS = {
    "s_down": CellMark("down", "s_down", "it takes the master for down"),
    "o_down": CellMark("down", "o_down", "it knows as many as the quorum that do so"),
    "failover_in_progress": CellMark("info", "failover", "it fails the shard over"),
}
"""What is told of the flags of SENTINEL MASTER; any other one is degraded."""


@dataclass(frozen=True)
class MatrixCell:
    """What one Sentinel says about one shard.

    Attributes:
        sentinel: its address.
        master: the address that it names, or "".
        replicas, others: how many replicas and other Sentinels it knows; None: it says nothing.
        marks: what is odd about it.
    """

    sentinel: str
    master: str
    replicas: int | None
    others: int | None
    marks: tuple[CellMark, ...]


@dataclass(frozen=True)
class MatrixRow:
    """A shard.

    Attributes:
        master: that most of the Sentinels which monitor the shard name; "": there is no majority.
        cells: one for each Sentinel, in their order.
        differs: whether the Sentinels that answer do not say the same: whether they monitor it,
            its master, whether that is down.
        odd: whether a Sentinel that answers has a mark.
    """

    shard: str
    master: str
    cells: tuple[MatrixCell, ...]
    differs: bool
    odd: bool


@dataclass(frozen=True)
class SentinelMatrix:
    """All that the Sentinels of a pool say.

    Attributes:
        at: when they were asked; None if the metaserver's time cannot be parsed.
        sentinels: with `address`, `up` and `error`.
        rows: of all shards; where Sentinels differ first, then what is odd, else the pool's order.
    """

    at: datetime | None
    sentinels: tuple[Json, ...]
    rows: tuple[MatrixRow, ...]

    @property
    def answering(self) -> int:
        """How many Sentinels answer."""
        return sum(bool(each["up"]) for each in self.sentinels)

    @property
    def differing(self) -> tuple[str, ...]:
        """The shards about which Sentinels differ."""
        return tuple(row.shard for row in self.rows if row.differs)


def sentinel_matrix(told: Json) -> SentinelMatrix:
    """Return what the metaserver tells of a pool's Sentinels as a matrix."""
    sentinels = tuple(told["sentinels"])
    said = [{each["shard"]: each for each in sentinel["shards"]} for sentinel in sentinels]
    rows = [
        _row(
            str(each["shard"]),
            str(each["master"] or ""),
            sentinels,
            [of_one.get(each["shard"]) for of_one in said],
        )
        for each in told["shards"]
    ]
    rows.sort(key=lambda row: (not row.differs, not row.odd))
    return SentinelMatrix(parse_time(str(told["at"])), sentinels, tuple(rows))


def _row(
    shard: str, master: str, sentinels: Sequence[Json], answers: Sequence[Json | None]
) -> MatrixRow:
    told = [each for each in answers if each is not None]
    most = max((int(each["replicas"] or 0) for each in told), default=0)
    cells = tuple(
        _cell(sentinel, answer, master, most, len(sentinels) - 1)
        for sentinel, answer in zip(sentinels, answers, strict=True)
    )
    said = {(each["monitored"], each["master"], "s_down" in each["flags"]) for each in told}
    odd = any(cell.marks and up["up"] for cell, up in zip(cells, sentinels, strict=True))
    return MatrixRow(shard, master, cells, len(said) > 1, odd)


def _cell(
    sentinel: Json, answer: Json | None, master: str, replicas: int, others: int
) -> MatrixCell:
    """Return a cell.

    Args:
        answer: of the Sentinel; None: there is none.
        master: that the majority names.
        replicas, others: how many replicas and other Sentinels it should know.
    """
    address = str(sentinel["address"])
    if answer is None:
        mark = CellMark("down", "unreachable", str(sentinel["error"] or "it does not answer"))
        return MatrixCell(address, "", None, None, (mark,))
    if not answer["monitored"]:
        mark = CellMark("degraded", "not monitored", "it does not know the shard")
        return MatrixCell(address, "", None, None, (mark,))
    return MatrixCell(
        sentinel=address,
        master=str(answer["master"]),
        replicas=int(answer["replicas"]),
        others=int(answer["other_sentinels"]),
        marks=(
            *_of_master(answer, master),
            *_of_flags(answer),
            *_of_rest(answer, replicas, others),
        ),
    )


def _of_master(answer: Json, master: str) -> tuple[CellMark, ...]:
    if not master:
        return (CellMark("degraded", "no majority", "no address is named by most Sentinels"),)
    if answer["master"] == master:
        return ()
    return (CellMark("degraded", "another master", f"most Sentinels name {master}"),)


def _of_flags(answer: Json) -> tuple[CellMark, ...]:
    flags = [str(flag) for flag in answer["flags"] if flag != _ORDINARY]
    return tuple(_FLAGS.get(flag) or CellMark("degraded", flag) for flag in flags)


def _of_rest(answer: Json, replicas: int, others: int) -> tuple[CellMark, ...]:
    """Return marks of a Sentinel that knows less than it should."""
    marks = []
    if answer["replicas"] < replicas:
        words = f"{answer['replicas']} of {replicas} replicas"
        marks.append(CellMark("degraded", words, "another Sentinel knows more of them"))
    if answer["other_sentinels"] != others:
        words = f"{answer['other_sentinels']} of {others} Sentinels"
        marks.append(CellMark("degraded", words, "it does not know the same others as the pool"))
    if not answer["usable"]:
        marks.append(CellMark("degraded", "no quorum", "SENTINEL CKQUORUM fails"))
    return tuple(marks)
