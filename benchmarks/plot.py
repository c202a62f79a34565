"""Draws a run as one SVG: a panel for each workload, a bar for each peer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

_WIDTH, _NAMES, _BARS = 800, 220, 400
_ROW, _HEAD, _GAP = 20, 30, 18
_OURS, _OTHERS, _FLOOR = "#2563eb", "#94a3b8", "#d4d4d8"


def svg(results: Sequence[Mapping[str, Any]]) -> str:
    """Draw calls per second as bars, with quartiles as whiskers; each panel has its own scale."""
    body: list[str] = []
    top = _GAP
    for result in results:
        body += _panel(result, top)
        top += _HEAD + _ROW * len(result["entrants"]) + _GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" '
            f'viewBox="0 0 {_WIDTH} {top}" font-family="sans-serif" font-size="12">',
            f'<rect width="{_WIDTH}" height="{top}" fill="white"/>',
            *body,
            "</svg>",
            "",
        ]
    )


def _panel(result: Mapping[str, Any], top: int) -> Iterator[str]:
    yield (
        f'<text x="8" y="{top + 16}" font-weight="bold">{escape(result["what"])}, calls/s</text>'
    )
    most = max(1e6 / figures["us"]["q1"] for figures in result["entrants"].values())
    for number, (name, figures) in enumerate(result["entrants"].items()):
        yield from _bar(name, figures, top + _HEAD + _ROW * number, _BARS / most)


def _bar(name: str, figures: Mapping[str, Any], top: int, scale: float) -> Iterator[str]:
    middle, text = top + _ROW / 2, top + _ROW * 0.7
    slow, median, fast = (1e6 / figures["us"][part] * scale for part in ("q3", "median", "q1"))
    ratio = figures["times_as_fast"]
    beside = f"{1e6 / figures['us']['median']:,.0f}" + (
        f" ({ratio['median']:.2f}x)" if ratio else ""
    )
    yield f'<text x="{_NAMES - 8}" y="{text:.1f}" text-anchor="end">{escape(name)}</text>'
    yield (
        f'<rect x="{_NAMES}" y="{top + 3}" width="{median:.1f}" height="{_ROW - 6}" '
        f'fill="{_colour(name)}"/>'
    )
    yield (
        f'<line x1="{_NAMES + slow:.1f}" x2="{_NAMES + fast:.1f}" y1="{middle}" y2="{middle}" '
        'stroke="black"/>'
    )
    yield f'<text x="{_NAMES + _BARS + 12}" y="{text:.1f}">{beside}</text>'


def _colour(name: str) -> str:
    if name.startswith("floor"):
        return _FLOOR
    return _OURS if name.startswith("cachemesh") else _OTHERS
