"""How a resize ended, from the entries of the audit log."""

from __future__ import annotations

from typing import Any

from cachemesh.cli.migration_ends import ends

OUTCOME = {
    "resize": 7,
    "version": 9,
    "summary": "add shard c",
    "asked_by": "token:ops",
    "began": "2026-01-01T00:00:00.000Z",
    "strategy": "move",
    "back": False,
    "moved": 40,
}


def event(action: str, actor: str = "system", **after: Any) -> dict[str, Any]:
    told = {"at": "2026-01-01T00:01:00.000Z", "pool": "cache", "detail": "add shard c: done"}
    return {**told, "action": action, "actor": actor, "after": {**OUTCOME, **after}}


def test_one_that_is_done() -> None:
    (end,) = ends([event("resize.done")])
    assert (end.pool, end.resize, end.how, end.summary) == ("cache", 7, "done", "add shard c")
    assert (end.asked_by, end.given_up_by, end.moved) == ("token:ops", None, 40)


def test_one_that_was_given_up_before_keys_moved() -> None:
    (end,) = ends([event("resize.given-up", "token:me")])
    assert (end.how, end.given_up_by) == ("given up", "token:me")


def test_one_whose_keys_moved_back_has_one_end() -> None:
    newest_first = [event("resize.done", back=True), event("resize.turned-back", "token:me")]
    (end,) = ends(newest_first)
    assert (end.how, end.given_up_by) == ("turned back", "token:me")
    assert ends(newest_first[1:]) == [], "it still goes on"
    assert ends(newest_first[:1])[0].given_up_by is None, "who did is in the log no more"


def test_one_of_an_earlier_release_tells_less() -> None:
    old = {**event("resize.done"), "after": {"resize": 7, "version": 9}}
    (end,) = ends([old, {**old, "after": None}])
    assert (end.summary, end.asked_by, end.moved) == ("add shard c: done", None, None)
