"""Which work on shards goes as planned."""

from __future__ import annotations

import dataclasses
import os
import time
from typing import Any

import pytest

from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.pool_state import Failover, PoolState, ShardWork
from metaserver.domain.sentinel_view import SentinelView
from metaserver.domain.shard_state import PlannedWork
from metaserver.loops.planned_work import PlannedWorkTracker
from metaserver.process.identity import process_identity
from tests.support.pool_observations import (
    MASTER,
    MASTER_INFO,
    OTHER,
    REPLICA_INFO,
    SENTINELS,
    VIEW,
)

FAILING = dataclasses.replace(VIEW, flags=frozenset(("master", "failover_in_progress")))
ALONE = dataclasses.replace(VIEW, replicas=())
NO_QUORUM = dataclasses.replace(VIEW, usable=False, detail="NOQUORUM 1 usable Sentinels.")
SYNCING = {**REPLICA_INFO, "master_link_status": "down"}
DIFFERENT = {
    at: SentinelView(at, shards={"cache-0": dataclasses.replace(VIEW, master=master)})
    for at, master in zip(SENTINELS, (MASTER, MASTER, OTHER), strict=True)
}
ONE_IS_SILENT = {
    at: SentinelView(at, error="refused")
    if at == SENTINELS[0]
    else SentinelView(at, shards={"cache-0": VIEW})
    for at in SENTINELS
}
ONE_KNOWS_NOTHING = {
    at: SentinelView(at, shards={} if at == SENTINELS[0] else {"cache-0": VIEW}) for at in SENTINELS
}

PLANNED: dict[str, dict[str, Any]] = {
    "the Sentinel is at it": {"view": FAILING},
    "the Sentinels hear of it": {"views": DIFFERENT},
    "the old master obeys": {"master": REPLICA_INFO, "replica": MASTER_INFO},
    "a replica follows": {"replica": SYNCING},
}
NEW: dict[str, dict[str, Any]] = {
    "the Sentinels meet": {"view": NO_QUORUM},
    "one Sentinel is told late": {"views": ONE_KNOWS_NOTHING},
    "a replica follows": {"replica": SYNCING},
}
REAL: dict[str, tuple[str, dict[str, Any]]] = {
    "the master is dead": ("down", {"master": "Connection refused"}),
    "a replica is dead": ("degraded", {"replica": "Connection refused"}),
    "a Sentinel is dead": ("degraded", {"views": ONE_IS_SILENT}),
}


def state_with(work: ShardWork, failover: Failover | None = None) -> PoolState:
    document = PoolDocument(
        "cache", 1, SlotsPlacement.even([Shard("cache-0")]), sentinels=SENTINELS
    )
    return PoolState(
        document,
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
    [(process_identity(), True), ("", False), (f"{os.getpid()}:1", False)],
    ids=["alive", "left to repair", "dead"],
)
def test_an_unattended_failover_explains_nothing(owner: str, known: bool) -> None:
    failover = Failover(1, "cache", "cache-0", MASTER, SENTINELS, owner, {})
    found = PlannedWorkTracker().of_pool(state_with(work(), failover))
    assert found == ({"cache-0": PlannedWork("failing over", busy=True)} if known else {})
