"""How a resize under way is shown: in a line, and as bars on terminals of any width."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from cachemesh.cli.migration_tables import bars, phase, progress_line, span

SOURCE = {
    "shard": "cache-0",
    "to": ["cache-3"],
    "state": "moving",
    "moved": 620,
    "bytes_moved": 173_600,
    "left": 4362,
    "detail": "",
}
WAITS = "keys cannot be moved from shard cache-1: 10.0.0.9:6379 did not reach the target"
RESIZE: dict[str, Any] = {
    "id": 7,
    "state": "moving",
    "attempt": 1,
    "summary": "add shard cache-3 (127.0.0.1:10668), weight 1",
    "actor": "token:ops",
    "began": "2026-01-01T00:00:00.000Z",
    "detail": "keys move",
    "strategy": "move",
    "back": False,
    "stage": 0,
    "stages": 1,
    "done": [],
    "lost": [],
    "moved": 620,
    "left": 4362,
    "share": 0.1245,
    "rate": 199.4,
    "seconds_left": 66.1,
    "longest_hold": 0.035,
    "sources": [SOURCE],
    "paused": False,
    "keys_per_second": 200,
    "max_latency": 0,
}
NOTHING_KNOWN = {"left": None, "share": None, "rate": 0.0, "seconds_left": None, "moved": 0}


def drawn(resize: dict[str, Any], width: int) -> list[str]:
    screen = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    screen.print(bars(resize, width))
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue().splitlines()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "moving, 12.4%, 620 keys moved, 4,362 left, 199 keys/s, 66 s left"),
        (NOTHING_KNOWN, "moving, 0 keys/s"),
        ({"paused": True}, "moving, paused, 12.4%, 620 keys moved, 4,362 left"),
        (
            {"stages": 2, "stage": 1, "detail": WAITS},
            "moving, stage 2 of 2, 12.4%, 620 keys moved, 4,362 left, 199 keys/s, 66 s left, "
            + WAITS,
        ),
        (
            {**NOTHING_KNOWN, "state": "preparing", "attempt": 3, "detail": "waits for client x"},
            "preparing, attempt 3, waits for client x",
        ),
        ({**NOTHING_KNOWN, "strategy": "drop", "state": "clearing", "detail": ""}, "clearing"),
    ],
)
def test_in_one_line(changes: dict[str, Any], line: str) -> None:
    assert progress_line({**RESIZE, **changes}) == line


def test_the_way_back_says_so() -> None:
    assert phase({**RESIZE, "back": True}) == "moving back"


def test_what_a_terminal_would_act_upon_is_escaped() -> None:
    assert "\x1b" not in progress_line({**RESIZE, "detail": "\x1b[2J"})


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        NOTHING_KNOWN,
        {"stages": 2, "stage": 1},
        {"detail": WAITS, "sources": [{**SOURCE, "state": "waits", "detail": WAITS}]},
        {"sources": [{**SOURCE, "to": ["cache-3", "cache-4"], "bytes_moved": None}] * 3},
        {**NOTHING_KNOWN, "strategy": "drop", "sources": [], "state": "preparing"},
    ],
)
def test_bars_fit_the_terminal(changes: dict[str, Any], width: int) -> None:
    lines = drawn({**RESIZE, **changes}, width)
    assert lines[0][:30] == RESIZE["summary"][:30]
    assert max(map(len, lines)) <= width


def test_each_stage_has_a_bar() -> None:
    shown = "\n".join(drawn({**RESIZE, "stages": 2, "stage": 1}, 80))
    assert "stage 1" in shown and "100.0%" in shown
    assert "stage 2" in shown and "12.4%" in shown
    back = "\n".join(drawn({**RESIZE, "stages": 2, "stage": 0, "back": True}, 80))
    assert back.index("12.4%") < back.index("100.0%"), "the way back begins with the last stage"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (119, "119 s"), (120, "2 min 0 s"), (3700, "1 h 1 min"), (90_000, "1 d 1 h")],
)
def test_a_time_in_words(seconds: float, text: str) -> None:
    assert span(seconds) == text
