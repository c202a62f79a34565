"""What a feed keeps of what was made of its snapshots."""

from __future__ import annotations

from dashboard.config import DashboardConfig
from dashboard.feed import PoolFeed
from dashboard.upstream import Upstream


def test_a_result_is_made_once_for_each_snapshot_and_old_ones_are_dropped() -> None:
    feed = PoolFeed(Upstream(DashboardConfig(("127.0.0.1:1",)), "t"), "cache")
    made: list[tuple[int, str]] = []

    def make(serial: int, key: str) -> str:
        def result() -> str:
            made.append((serial, key))
            return f"{key} of {serial}"

        return feed.shared(serial, (key,), result)

    assert [make(1, "a"), make(1, "a"), make(1, "b"), make(2, "a")] == [
        *("a of 1", "a of 1", "b of 1", "a of 2")
    ]
    assert make(1, "a") == "a of 1", "a browser that is a snapshot behind"
    assert made == [(1, "a"), (1, "b"), (2, "a")]
    make(3, "a")
    make(1, "a")
    assert made[3:] == [(3, "a"), (1, "a")]


def test_what_is_made_may_be_made_of_other_results() -> None:
    feed = PoolFeed(Upstream(DashboardConfig(("127.0.0.1:1",)), "t"), "cache")
    inner = feed.shared(1, ("outer",), lambda: feed.shared(1, ("inner",), lambda: "whole") + "!")
    assert inner == "whole!"
