"""Which work on shards goes as planned."""

from __future__ import annotations

import time

import pytest

from metaserver.domain.pool_state import Failover, PoolState, ShardWork
from metaserver.domain.shard_state import PlannedWork
from metaserver.loops.planned_work import PlannedWorkTracker
from metaserver.process.identity import process_identity
from tests.support.pool_observations import DOCUMENT, MASTER, SENTINELS

DEAD = f"{process_identity().rpartition(':')[0]}:1"  # this pid, but started at another time


def state_with(work: ShardWork, failover: Failover | None = None) -> PoolState:
    return PoolState(
        DOCUMENT,
        work={"cache-0": work},
        failovers={} if failover is None else {"cache-0": failover},
    )


def work(age: float = 0.0, within: float = 30.0, number: int = 1) -> ShardWork:
    return ShardWork(number, "cache-0", "failing over", time.time() - age, within)


def test_work_that_takes_too_long_explains_nothing() -> None:
    assert PlannedWorkTracker().of_pool(state_with(work(age=29))) == {
        "cache-0": PlannedWork("failing over")
    }
    assert PlannedWorkTracker().of_pool(state_with(work(age=31))) == {}, (
        "also for a process that just started"
    )


def test_a_clock_that_jumps_neither_ends_work_nor_prolongs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, steady = time.time(), [time.monotonic()]
    subject, state = PlannedWorkTracker(lambda: steady[0]), state_with(work(age=5))
    for jump in (-3600, 3600):
        assert subject.of_pool(state)
        monkeypatch.setattr("time.time", lambda jump=jump: now + jump)
        assert subject.of_pool(state)
    steady[0] += 26
    assert subject.of_pool(state) == {}
    assert subject.of_pool(state_with(work(number=2))), "the next one counts from its own beginning"


@pytest.mark.parametrize(
    ("owner", "known"),
    [(process_identity(), True), ("", False), (DEAD, False)],
    ids=["alive", "left to repair", "dead"],
)
def test_an_unattended_failover_explains_nothing(owner: str, known: bool) -> None:
    failover = Failover(1, "cache", "cache-0", MASTER, SENTINELS, owner, {})
    found = PlannedWorkTracker().of_pool(state_with(work(), failover))
    assert found == ({"cache-0": PlannedWork("failing over", busy=True)} if known else {})
