"""How the dashboard turns a resize of a status into its panel."""

from __future__ import annotations

from typing import Any

import pytest

from dashboard.migration_view import migration_of

SOURCE = {
    "shard": "a",
    "to": ["c"],
    "state": "moving",
    "moved": 30,
    "bytes_moved": 900,
    "left": 90,
    "detail": "",
}
MOVE: dict[str, Any] = {
    "state": "moving",
    "summary": "add shard c",
    "actor": "token:ops",
    "detail": "keys move",
    "strategy": "move",
    "back": False,
    "stage": 0,
    "stages": 1,
    "moved": 30,
    "left": 90,
    "share": 0.25,
    "rate": 10.0,
    "seconds_left": 9.0,
    "longest_hold": 0.0,
    "paused": False,
    "keys_per_second": 0,
    "max_latency": 0,
    "sources": [SOURCE],
}


def shown(**changes: Any) -> Any:
    return migration_of({"resize": {**MOVE, **changes}}, {"a": 3})


def test_without_a_resize_there_is_no_panel() -> None:
    assert migration_of({}, {}) is None
    assert migration_of({"resize": None}, {}) is None


@pytest.mark.parametrize(
    ("changes", "state", "phases"),
    [
        ({}, "moving", "past prepare, now move, to come done"),
        ({"paused": True}, "paused", "past prepare, now move, to come done"),
        ({"back": True}, "moving back", "past prepare, now move back, to come done"),
        ({"state": "preparing"}, "preparing", "now prepare, to come move, to come done"),
        ({"state": "paused"}, "waiting", "now prepare, to come move, to come done"),
        (
            {"state": "clearing"},
            "clearing",
            "now clear, to come prepare, to come move, to come done",
        ),
        ({"state": "preparing", "strategy": "drop"}, "preparing", "now prepare, to come done"),
        ({"state": "invalid"}, "invalid", "to come prepare, to come move, to come done"),
    ],
)
def test_where_it_stands(changes: dict[str, Any], state: str, phases: str) -> None:
    found = shown(**changes)
    assert found.state == state
    assert ", ".join(f"{each.standing} {each.word}" for each in found.phases) == phases


def test_while_the_pool_is_paused_it_is_too_and_says_so() -> None:
    resize = {**MOVE, "detail": "the pool is paused"}
    found = migration_of({"resize": resize, "pause": {"by": "token:ops"}}, {"a": 3})
    assert found is not None
    assert (found.state, found.paused, found.why) == ("paused", False, "the pool is paused")


def test_what_it_waits_for_is_not_that_it_goes_on() -> None:
    assert shown().why == shown(detail="").why == ""
    assert shown(detail="an operator has paused it", paused=True).why == ""
    assert shown(detail="waits for client x").why == "waits for client x"


def test_shards_without_whose_data_it_goes_on_are_named() -> None:
    assert shown().lost == ()
    assert shown(lost=["a"]).lost == ("a",)


def test_each_source_has_its_share() -> None:
    unknown = {**SOURCE, "shard": "b", "state": "waits", "moved": None, "left": None}
    done = {**unknown, "shard": "d", "state": "done", "bytes_moved": None, "left": 0}
    found = shown(sources=[SOURCE, unknown, done, {**SOURCE, "moved": 0, "left": 0}])
    assert [each.share for each in found.sources] == [0.25, None, 1.0, 1.0]
    assert (found.sources[0].hue, found.sources[0].to, found.size) == (3, ("c",), 2700)
