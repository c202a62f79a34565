"""Draws figures over time as SVG: lines between a scale of values and a scale of times."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TypeAlias

WIDTH, HEIGHT = 400.0, 160.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 382.0, 18.0, 138.0
"""The edges of the plot; outside are what the scales say, and above it the numbers of marks."""

Values: TypeAlias = Sequence[tuple[float, float | None]]
"""Each with its time, in seconds since the epoch, oldest first; None: not known."""


@dataclass(frozen=True)
class TimeSpan:
    """The time that a chart shows, in seconds since the epoch.

    Attributes:
        every: seconds between two times that the scale names.
    """

    begin: float
    end: float
    every: int

    def place(self, at: float) -> float:
        """Return where a time is in a chart, from left to right."""
        share = (at - self.begin) / (self.end - self.begin)
        return LEFT + min(max(share, 0.0), 1.0) * (RIGHT - LEFT)


@dataclass(frozen=True)
class ScaleTick:
    """A value or time that a scale names.

    Attributes:
        place: where, from the top or from the left.
        text: what stands there.
    """

    place: float
    text: str


@dataclass(frozen=True)
class ChartLine:
    """A line of a chart, as SVG path data; `area` is what lies below it."""

    line: str
    area: str


@dataclass(frozen=True)
class TimeChart:
    """A chart in a box of `WIDTH` x `HEIGHT`."""

    lines: tuple[ChartLine, ...]
    values: tuple[ScaleTick, ...]
    times: tuple[ScaleTick, ...]


def time_chart(
    span: TimeSpan,
    lines: Sequence[Values],
    scale: Sequence[float],
    name: Callable[[float], str],
    gap: float,
) -> TimeChart:
    """Draw a chart.

    Args:
        lines: the values of each line.
        scale: the values to name, from 0 up; the last one is the top of the plot.
        name: writes one of them.
        gap: seconds without a value that break a line.
    """
    top = scale[-1]
    return TimeChart(
        tuple(_drawn(values, span, top, gap) for values in lines),
        tuple(ScaleTick(round(_height(value, top), 1), name(value)) for value in scale),
        time_ticks(span),
    )


def value_scale(high: float, *, binary: bool = False, whole: bool = False) -> tuple[float, ...]:
    """Return 0 and up to four round values above, the last one at or above `high`.

    Args:
        binary: whether they shall be round in KiB, MiB and so on.
        whole: whether there is nothing between 0 and 1.
    """
    if high <= 0:
        return (0.0, 1.0)
    unit = 1.0
    while binary and high >= 1024 * unit:
        unit *= 1024
    rough = high / unit / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= rough)
    if whole and unit == 1:
        step = max(step, 1.0)
    count = max(1, math.ceil(high / unit / step - 1e-9))
    return tuple(step * unit * number for number in range(count + 1))


def time_ticks(span: TimeSpan) -> tuple[ScaleTick, ...]:
    """Return the round times of a span, in UTC."""
    first = math.ceil(span.begin / span.every) * span.every
    return tuple(
        ScaleTick(
            round(span.place(at), 1), datetime.fromtimestamp(at, timezone.utc).strftime("%H:%M")
        )
        for at in range(first, math.floor(span.end) + 1, span.every)
    )


def _height(value: float, top: float) -> float:
    return BOTTOM - min(max(value / top, 0.0), 1.0) * (BOTTOM - TOP)


def _drawn(values: Values, span: TimeSpan, top: float, gap: float) -> ChartLine:
    runs: list[list[tuple[float, float]]] = []
    before: float | None = None
    for at, value in values:
        if value is None:
            continue
        if before is None or at - before > gap:
            runs.append([])
        before = at
        runs[-1].append((span.place(at), _height(value, top)))
    line = "".join(_path(run) for run in runs)
    area = "".join(
        f"{_path(run)}L{run[-1][0]:.1f} {BOTTOM:g}L{run[0][0]:.1f} {BOTTOM:g}Z"
        for run in runs
        if len(run) > 1
    )
    return ChartLine(line, area)


def _path(run: Sequence[tuple[float, float]]) -> str:
    """Return the path of values without a gap between them; of a single one, a dot."""
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run)
    return path if len(run) > 1 else f"{path}h0"
