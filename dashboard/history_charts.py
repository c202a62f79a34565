"""Turns the metaserver's history of a pool, or of one shard, into the charts of its page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from dashboard.event_marks import EventMark, events_of, marks_of
from dashboard.format import UNKNOWN, latency, number, parse_time, percent, rate, size
from dashboard.time_chart import TimeChart, TimeSpan, Values, time_chart, value_scale
from dashboard.upstream import Json

_REPORT_SECONDS = 30.0  # apps tell every 10 s or so: a line goes on between two reports
_GAP_STEPS, _LEAST_GAP = 1.5, 12.5  # a step without a point breaks a line; two of 5 s do
_ROWS = 24  # of the table, or some more


@dataclass(frozen=True)
class ShownRange:
    """A time that the page can show.

    Attributes:
        words: the time, after "the last".
        seconds: how long it is.
        step: seconds of a point.
        every: seconds between two times of the scale.
        dated: whether its times need their day.
    """

    words: str
    seconds: int
    step: int
    every: int
    dated: bool = False


RANGES = {
    "5m": ShownRange("5 minutes", 300, 5, 60),
    "1h": ShownRange("hour", 3600, 15, 600),
    "1d": ShownRange("day", 86_400, 300, 14_400, dated=True),
}
"""By what the URL says."""

USUAL_RANGE = "1h"


@dataclass(frozen=True)
class FigureUnit:
    """How a figure is written.

    Attributes:
        words: writes a value.
        tick: writes a round one on a scale.
        binary, whole: as `value_scale` takes them.
        top: the end of its scale, if that is always the same.
    """

    words: Callable[[float], str]
    tick: Callable[[float], str]
    binary: bool = False
    whole: bool = False
    top: float | None = None


def _short(value: float) -> str:
    for least, step, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if value >= least:
            return f"{value / step:g}{unit}"
    return f"{value:,g}"


RATE = FigureUnit(rate, _short)
COUNT = FigureUnit(number, _short, whole=True)
BYTES = FigureUnit(size, lambda value: size(value).replace(".0 ", " "), binary=True, whole=True)
RATIO = FigureUnit(percent, lambda value: f"{value * 100:g}%", top=1.0)
SECONDS = FigureUnit(latency, latency)


@dataclass(frozen=True)
class ChartKind:
    """What one chart shows.

    Attributes:
        title: its heading, and that for a shard, if that is another one.
        per: what follows the value, such as "per second".
        fields: of a point, one for each line.
        names: of the lines, in this order, where there are several.
        bound: the field of an upper bound, which is drawn as a line too.
        felt: whether apps have reported it.
    """

    title: str
    fields: tuple[str, ...]
    unit: FigureUnit
    per: str = ""
    names: tuple[str, ...] = ("",)
    bound: str | None = None
    felt: bool = False
    title_of_shard: str = ""


CHARTS = (
    ChartKind("Operations", ("ops_per_second",), RATE, "per second"),
    ChartKind("Hit ratio", ("hit_ratio",), RATIO),
    ChartKind("Memory", ("used_memory",), BYTES, bound="maxmemory"),
    ChartKind("Keys", ("keys",), COUNT),
    ChartKind("Evictions", ("evictions_per_second",), RATE, "per second"),
    ChartKind("Clients", ("clients",), COUNT, title_of_shard="Connections"),
    ChartKind("Furthest replica behind", ("lag_bytes",), BYTES),
    ChartKind("Latency, as apps feel it", ("p50", "p99"), SECONDS, "", ("p50", "p99"), felt=True),
    ChartKind("Errors, as apps feel them", ("errors_per_second",), RATE, "per second", felt=True),
)


@dataclass(frozen=True)
class ShownChart:
    """A chart of the page.

    Attributes:
        title: its heading.
        now: the values of now, each with the name of its line, or "".
        per: what follows them.
        drawn: the chart; its last line is the bound, if there is one.
        bound: the bound in words, or "".
        known: whether there is anything to draw.
        told: all of it in words, for those who do not see it.
    """

    title: str
    now: tuple[tuple[str, str], ...]
    per: str
    drawn: TimeChart
    bound: str
    known: bool
    told: str


@dataclass(frozen=True)
class HistoryTable:
    """Some of the figures, newest first; the first cell of a row is its time."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class HistoryView:
    """All that the page shows.

    Attributes:
        pool, shard: whose history; without a shard, of the whole pool.
        chosen: the name of the range.
        until: the moment up to which the metaserver has told.
        since: from when on anything is known, if that is within the range.
        marks: what happened meanwhile.
        marked_since: from when on all of it is marked, if that is within the range.
    """

    pool: str
    shard: str | None
    chosen: str
    until: datetime
    since: datetime | None
    charts: tuple[ShownChart, ...]
    marks: tuple[EventMark, ...]
    marked_since: datetime | None
    table: HistoryTable

    @property
    def known(self) -> bool:
        """Whether there is any figure."""
        return bool(self.table.rows)


def history_view(
    history: Json, events: Sequence[Json], chosen: str, *, all_events: bool = True
) -> HistoryView:
    """Return what the page shows.

    Args:
        history: as the metaserver tells it.
        events: of the pool, newest first.
        chosen: the name of the range, one of RANGES.
        all_events: whether there are no earlier ones in this time.
    """
    until, known_since = parse_time(history["until"]), history["known_since"]
    assert until is not None
    shown = RANGES[chosen]
    end = until.timestamp()
    span = TimeSpan(end - shown.seconds, end, shown.every)
    step = float(history["step"])
    points = [(_middle(point, step), point) for point in history["points"]]
    since = None if known_since is None else parse_time(known_since)
    shard = history["shard"]
    marked = events_of(events, span, shard, whole=all_events)
    return HistoryView(
        pool=history["pool"],
        shard=shard,
        chosen=chosen,
        until=until,
        since=since if since and since.timestamp() > span.begin + 2 * step else None,
        charts=tuple(_chart(kind, points, span, step, shard, shown.words) for kind in CHARTS),
        marks=marks_of(marked.lines, span),
        marked_since=marked.since,
        table=_table(points, shard, dated=shown.dated),
    )


def _middle(point: Json, step: float) -> float:
    at = parse_time(point["at"])
    assert at is not None
    return at.timestamp() + step / 2


def _title(kind: ChartKind, shard: str | None) -> str:
    return kind.title_of_shard if shard and kind.title_of_shard else kind.title


def _chart(
    kind: ChartKind,
    points: Sequence[tuple[float, Json]],
    span: TimeSpan,
    step: float,
    shard: str | None,
    words: str,
) -> ShownChart:
    lines: list[Values] = [[(at, point[field]) for at, point in points] for field in kind.fields]
    gap = max(_GAP_STEPS * step, _REPORT_SECONDS if kind.felt else _LEAST_GAP)
    current = [_current(line, span.end - gap - step) for line in lines]
    known = [value for line in lines for _, value in line if value is not None]
    bound, drawn = "", lines
    if kind.bound is not None:
        bounds = [(at, point[kind.bound] or None) for at, point in points]
        limit = _current(bounds, span.end - gap - step)
        if limit is not None:
            bound, drawn = f"of {kind.unit.words(limit)}", [*lines, bounds]
    highest = max((value for line in drawn for _, value in line if value is not None), default=0.0)
    scale = value_scale(kind.unit.top or highest, binary=kind.unit.binary, whole=kind.unit.whole)
    title = _title(kind, shard)
    now = tuple(
        (name, UNKNOWN if value is None else kind.unit.words(value))
        for name, value in zip(kind.names, current, strict=True)
    )
    return ShownChart(
        title=title,
        now=now,
        per=kind.per,
        drawn=time_chart(span, drawn, scale, kind.unit.tick, gap),
        bound=bound,
        known=bool(known),
        told=_in_words(title, now, known, kind, f"the last {words}"),
    )


def _current(values: Values, since: float) -> float | None:
    """Return the last value that is known, if it is of this time or later."""
    return next((v for at, v in reversed(values) if v is not None and at >= since), None)


def _in_words(
    title: str,
    now: Sequence[tuple[str, str]],
    known: Sequence[float],
    kind: ChartKind,
    when: str,
) -> str:
    if not known:
        return f"{title}, {when}: nothing is known"
    values = ", ".join(f"{name} {value}".strip() for name, value in now)
    low, high = kind.unit.words(min(known)), kind.unit.words(max(known))
    per = f" {kind.per}" if kind.per else ""
    return f"{title}{per}, {when}: now {values}; lowest {low}, highest {high}"


def _table(points: Sequence[tuple[float, Json]], shard: str | None, *, dated: bool) -> HistoryTable:
    columns = [
        (f"{_title(kind, shard)} {name}".strip(), field, kind.unit)
        for kind in CHARTS
        for name, field in zip(kind.names, kind.fields, strict=True)
    ]
    every = max(1, len(points) // _ROWS)
    rows = []
    for _, point in points[::-every]:
        at = parse_time(point["at"])
        assert at is not None
        cells = (
            UNKNOWN if point[field] is None else unit.words(point[field])
            for _, field, unit in columns
        )
        rows.append((at.strftime("%Y-%m-%d %H:%M" if dated else "%H:%M:%S"), *cells))
    return HistoryTable(("Time", *(head for head, _, _ in columns)), tuple(rows))
