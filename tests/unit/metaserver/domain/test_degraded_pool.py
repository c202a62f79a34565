"""What the preview of a change says of a pool that is not well."""

from __future__ import annotations

from typing import Any

from metaserver.domain.degraded_pool import degraded_warnings

DEAD = "master 10.0.0.1:6379: Connection refused; Sentinel fails over once it takes it for down"
LONELY = "replica 10.0.0.9:6379: Connection refused"


def shard(name: str, state: str, reason: str | None = None, share: float = 0.25) -> dict[str, Any]:
    return {"name": name, "state": state, "reason": reason, "share": share}


def test_a_pool_that_is_well_or_works_as_planned_is_not_warned_of() -> None:
    states = ("up", "failing over", "joining", "draining")
    assert degraded_warnings([shard(each, each, "work goes on") for each in states], ["up"]) == []


def test_what_is_down_comes_first_and_is_told_with_what_it_means() -> None:
    shards = [shard("a", "degraded", LONELY), shard("b", "down", DEAD)]
    assert degraded_warnings(shards, ()) == [
        f"shard b is down: 25.0% of the keys are not served ({DEAD})",
        f"shard a is degraded: it serves, and one more fault may take it down ({LONELY})",
    ]


def test_of_shards_that_exchange_keys_it_says_what_that_means_for_the_move() -> None:
    shards = [shard("a", "down", DEAD), shard("b", "degraded", LONELY), shard("c", "down", DEAD)]
    assert degraded_warnings(shards, ("a", "b")) == [
        f"shard a is down: no key moves from or to it, and the resize waits until it serves again "
        f"({DEAD})",
        f"shard c is down: 25.0% of the keys are not served ({DEAD})",
        "shard b is degraded: it serves, and one more fault while keys move may take it down "
        f"({LONELY})",
    ]


def test_shards_with_one_fault_share_a_warning_which_names_a_dozen() -> None:
    shards = [shard(f"s{number}", "degraded", "no answer from x", 0.05) for number in range(14)]
    (warning,) = degraded_warnings(shards, ())
    assert warning.startswith("shards s0, s1, ") and "s11 and 2 more are degraded" in warning
    assert warning.endswith("they serve, and one more fault may take them down (no answer from x)")
    (warning,) = degraded_warnings([shard("a", "down", DEAD), shard("b", "down", DEAD)], ())
    assert warning.startswith("shards a, b are down: 50.0% of the keys")
