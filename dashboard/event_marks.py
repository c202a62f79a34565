"""The events that a chart of history marks: what was changed, and what failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dashboard.events import EventLine, event_line
from dashboard.time_chart import TimeSpan
from dashboard.upstream import Json

MARKED = frozenset(
    {
        *("failover", "shard.failover", "shard.failover-undone", "shard.down", "shard.up"),
        *("shard.add", "shard.remove", "shard.set-weight", "pool.create", "pool.restore"),
        *("pool.settings", "pool.placement", "resize.done", "resize.turned-back"),
        *("resize.given-up", "resize.shard-lost"),
    }
)
"""The actions of these events."""

APART = 16.0
"""How far marks are apart at least, in a chart; events that are closer share one."""

_MOST = 60  # events
_WORST_FIRST = ("bad", "warn", "change", "good", "info")


@dataclass(frozen=True)
class EventMark:
    """A mark in the charts.

    Attributes:
        number: by which the list below the charts names it.
        place: where, from left to right.
        kind: that of its worst event.
        events: oldest first.
    """

    number: int
    place: float
    kind: str
    events: tuple[EventLine, ...]

    @property
    def words(self) -> str:
        """What happened, in one line."""
        return "; ".join(line.told for line in self.events)


@dataclass(frozen=True)
class MarkedEvents:
    """The events to mark.

    Attributes:
        lines: oldest first; the latest ones, where there are very many.
        since: from when on none is left out; None: in the whole time.
    """

    lines: tuple[EventLine, ...]
    since: datetime | None = None


def events_of(
    events: Sequence[Json], span: TimeSpan, shard: str | None, *, whole: bool = True
) -> MarkedEvents:
    """Return the events to mark.

    Args:
        events: of the pool, newest first.
        shard: only those about it, or the pool as a whole; None: all.
        whole: whether there are no earlier ones in this time.
    """
    found: list[EventLine] = []
    for event in events:
        line = event_line(event)
        if line.action not in MARKED or line.at is None:
            continue
        about = shard is None or line.target == shard or not line.action.startswith(_OF_A_SHARD)
        if about and span.begin <= line.at.timestamp() <= span.end:
            found.append(line)
    since = None if whole or not events else event_line(events[-1]).at
    if len(found) > _MOST:
        since = found[_MOST - 1].at
    return MarkedEvents(tuple(found[:_MOST][::-1]), since)


_OF_A_SHARD = ("failover", "shard.")


def marks_of(events: Sequence[EventLine], span: TimeSpan) -> tuple[EventMark, ...]:
    """Return the marks of events, which are in order."""
    groups: list[tuple[float, list[EventLine]]] = []
    for line in events:
        assert line.at is not None
        place = span.place(line.at.timestamp())
        if not groups or place - groups[-1][0] < APART:
            groups = groups or [(place, [])]
        else:
            groups.append((place, []))
        groups[-1][1].append(line)
    return tuple(
        EventMark(
            number,
            round(place, 1),
            min((line.kind for line in lines), key=_WORST_FIRST.index),
            tuple(lines),
        )
        for number, (place, lines) in enumerate(groups, 1)
    )
