"""Draws sparklines as SVG path data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 120.0
HEIGHT = 24.0
MARGIN = 2.0  # keeps the stroke inside the box


@dataclass(frozen=True)
class Spark:
    """A sparkline in a box of `WIDTH` x `HEIGHT`.

    Attributes:
        line, area: SVG path data of the line, and of the area below it.
        low, high: the lowest and the highest value.
    """

    line: str
    area: str
    low: float
    high: float


def spark(
    values: Sequence[float | None], slots: int, floor: float = 0.0, ceiling: float | None = None
) -> Spark | None:
    """Draw a sparkline, aligned to the right.

    Args:
        values: oldest first; None breaks the line.
        slots: how many values fill the box.
        floor, ceiling: the ends of the scale; without a ceiling, it ends at the highest value.

    Returns:
        The sparkline; None with fewer than two values to draw.
    """
    shown = list(values)[-slots:]
    known = [value for value in shown if value is not None]
    if len(known) < 2:
        return None
    top = max(known) if ceiling is None else ceiling
    span = (top - floor) or 1.0
    step = WIDTH / (slots - 1)
    start = WIDTH - step * (len(shown) - 1)
    runs: list[list[tuple[float, float]]] = [[]]
    for index, value in enumerate(shown):
        if value is None:
            runs.append([])
            continue
        level = min(max((value - floor) / span, 0.0), 1.0)
        y = HEIGHT - MARGIN - level * (HEIGHT - 2 * MARGIN)
        runs[-1].append((start + index * step, y))
    drawn = [run for run in runs if len(run) > 1]
    line = "".join(_line(run) for run in drawn)
    area = "".join(
        f"{_line(run)}L{run[-1][0]:.1f} {HEIGHT:g}L{run[0][0]:.1f} {HEIGHT:g}Z" for run in drawn
    )
    return Spark(line, area, min(known), max(known))


def _line(run: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run)
