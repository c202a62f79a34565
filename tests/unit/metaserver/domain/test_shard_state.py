"""The state of a shard, with and without work on it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from metaserver.domain.pool_state import WorkKind
from metaserver.domain.sentinel_view import SentinelView
from metaserver.domain.shard_state import PlannedWork
from metaserver.domain.status import pool_status
from tests.support.pool_observations import (
    MASTER,
    MASTER_INFO,
    OTHER,
    REPLICA_INFO,
    SENTINELS,
    VIEW,
    observation,
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


def judged(work: PlannedWork | None, **seen: Any) -> dict[str, Any]:
    known = {} if work is None else {"cache-0": work}
    status = pool_status(dataclasses.replace(observation(**seen), work=known))
    (shard,) = status["shards"]
    return {**shard, "health": status["health"]}


@pytest.mark.parametrize("seen", PLANNED.values(), ids=PLANNED)
def test_a_planned_failover_explains_what_is_missing(seen: dict[str, Any]) -> None:
    for busy in (True, False):
        shard = judged(PlannedWork("failing over", busy=busy), **seen)
        assert (shard["state"], shard["health"]) == ("failing over", "ok")
        assert shard["reason"].startswith("a planned failover goes on; ")
    assert judged(None, **seen)["state"] in ("down", "degraded")
    if seen != {"replica": SYNCING}:
        assert judged(PlannedWork("joining"), **seen)["state"] in ("down", "degraded")


@pytest.mark.parametrize("seen", NEW.values(), ids=NEW)
def test_an_addition_explains_what_is_missing(seen: dict[str, Any]) -> None:
    shard = judged(PlannedWork("joining"), **seen)
    assert (shard["state"], shard["health"]) == ("joining", "ok")
    assert shard["reason"].startswith("it was just added; ")
    assert judged(None, **seen)["state"] == "degraded"


@pytest.mark.parametrize(("state", "seen"), REAL.values(), ids=REAL)
@pytest.mark.parametrize("kind", ["failing over", "joining"])
def test_nothing_explains_what_is_dead(kind: WorkKind, state: str, seen: dict[str, Any]) -> None:
    assert judged(PlannedWork(kind, busy=True), **seen)["state"] == state


def test_work_is_over_once_nothing_is_missing() -> None:
    assert judged(PlannedWork("joining"))["state"] == "up"
    assert judged(PlannedWork("failing over"))["state"] == "up"
    assert judged(PlannedWork("failing over", busy=True))["state"] == "failing over"


def test_a_shard_without_a_replica_has_a_warning() -> None:
    info = {name: value for name, value in MASTER_INFO.items() if name != "slave0"}
    shard = judged(None, master=info, view=ALONE)
    assert shard["state"] == "up"
    assert shard["warnings"] == [
        "no replica: a failover is not possible, its keys are lost if it dies"
    ]
    shard = judged(None, replica="Connection refused")
    assert "no replica answers" in shard["warnings"][0]
    assert judged(None)["warnings"] == []


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"view": ALONE}, f"it has no replica: start {MASTER} again"),
        ({"replica": "Connection refused"}, f"no replica answers: start {MASTER} or one of them"),
        ({"view": NO_QUORUM}, "most Sentinels are missing"),
        ({}, "Sentinel fails over once"),
    ],
)
def test_a_dead_master_says_what_comes_next(seen: dict[str, Any], words: str) -> None:
    shard = judged(None, master="Connection refused", **seen)
    assert shard["state"] == "down"
    assert words in shard["reason"]


def test_no_failover_is_promised_where_nobody_could_take_over() -> None:
    flags = frozenset(("master", "s_down", "o_down"))
    for view, replica in ((ALONE, REPLICA_INFO), (VIEW, "Connection refused")):
        flagged = dataclasses.replace(view, flags=flags)
        shard = judged(None, master="Connection refused", view=flagged, replica=replica)
        assert not shard["sentinel"]["failover"]
        assert "under way" not in shard["reason"] + shard["sentinel"]["detail"]
