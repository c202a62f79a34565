"""What /metrics has of a resize under way."""

from __future__ import annotations

from typing import Any

from metaserver.api.metrics import METRICS, render
from metaserver.api.resize_metrics import of_resize

MOVE: dict[str, Any] = {
    "state": "moving",
    "strategy": "move",
    "back": False,
    "began": "2026-01-02T03:04:05.678Z",
    "longest_hold": 0.0345,
    "paused": True,
    "moved": 1_234_567,
    "left": 7,
    "rate": 0.0,
}


def shown(resize: dict[str, Any] | None) -> list[str]:
    lines = render(of_resize("cache", resize)).splitlines()
    return [line.removeprefix("cachemesh_resize_") for line in lines if not line.startswith("#")]


def test_a_move_with_all_that_is_known() -> None:
    assert shown(MOVE) == [
        'under_way{pool="cache",state="moving",strategy="move",direction="forward"} 1',
        'start_time_seconds{pool="cache"} 1767323045.678',
        'longest_hold_seconds{pool="cache"} 0.0345',
        'paused{pool="cache"} 1',
        'moved_keys{pool="cache"} 1234567',
        'left_keys{pool="cache"} 7',
        'moved_keys_per_second{pool="cache"} 0',
    ]
    assert {each.name for each in of_resize("cache", MOVE)} < METRICS.keys()


def test_what_is_not_known_is_left_out() -> None:
    assert [line for line in shown({**MOVE, "left": None}) if line.startswith("left")] == []
    for began in (None, "", "yesterday"):
        assert not [line for line in shown({**MOVE, "began": began}) if line.startswith("start")]


def test_a_resize_that_drops_keys_moves_none() -> None:
    names = [line.partition("{")[0] for line in shown({**MOVE, "strategy": "drop"})]
    assert names == ["under_way", "start_time_seconds", "longest_hold_seconds"]


def test_without_a_resize_there_is_nothing() -> None:
    assert list(of_resize("cache", None)) == []
