"""Changes of a pool as events: each is reported once."""

from __future__ import annotations

from typing import Any

from metaserver.domain.audit_log import NewEvent
from metaserver.domain.pool_state import ReportedState
from metaserver.domain.reports import changes

M, R, S = "10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.9:26379"


def instance(address: str | None, up: bool = True) -> dict[str, Any]:
    return {"address": address, "up": up, "error": None if up else "Connection refused"}


def status(
    master: dict[str, Any], *replicas: dict[str, Any], state: str = "up", sentinel: bool = True
) -> dict[str, Any]:
    shard = {
        "name": "cache-0",
        "state": state,
        "reason": None if state == "up" else "why",
        "master": master,
        "replicas": list(replicas),
    }
    return {"pool": "cache", "shards": [shard], "sentinels": [instance(S, sentinel)]}


WELL = status(instance(M), instance(R))


def told(
    *seen: dict[str, Any], before: ReportedState | None = None
) -> list[tuple[str, str | None]]:
    """Return the actions and details that are logged as one status follows the other."""
    known, _ = changes(before, seen[0])
    found: list[NewEvent] = []
    for each in seen[1:]:
        known, events = changes(known, each)
        found += events
    return [(event.action, event.target) for event in found]


def test_the_first_look_reports_only_what_does_not_answer() -> None:
    assert changes(None, WELL)[1] == []
    _, events = changes(None, status(instance(M), instance(R, False), sentinel=False))
    assert [(e.action, e.target, e.pool) for e in events] == [
        ("replica.down", R, "cache"),
        ("sentinel.down", S, "cache"),
    ]
    assert events[0].detail == "replica of cache-0: Connection refused"
    assert events[0].after == {"shard": "cache-0", "replicas": 1}


def test_a_replica_dies_and_is_back() -> None:
    dead = status(instance(M), instance(R, False), state="degraded")
    assert told(WELL, dead, dead, WELL, WELL) == [("replica.down", R), ("replica.up", R)]


def test_a_sentinel_dies_and_is_back() -> None:
    dead = status(instance(M), instance(R), state="degraded", sentinel=False)
    assert told(WELL, dead, dead, WELL) == [("sentinel.down", S), ("sentinel.up", S)]


def test_replicas_come_and_go() -> None:
    alone = status(instance(M))
    assert told(WELL, alone, WELL) == [("replica.gone", R), ("replica.added", R)]


def test_a_failover_brings_no_new_replica() -> None:
    dead = status(instance(M, False), instance(R), state="down")
    after = status(instance(R), instance(M, False), state="degraded")
    back = status(instance(R), instance(M))
    assert told(WELL, dead, after, after, back) == [
        ("shard.down", "cache-0"),
        ("shard.up", "cache-0"),
        ("replica.up", M),
    ]


def test_a_shard_that_joins_brings_its_replicas_along() -> None:
    nothing = {"pool": "cache", "shards": [], "sentinels": [instance(S)]}
    alone = status(instance(M), state="joining")
    assert told(nothing, alone, status(instance(M), instance(R), state="joining"), WELL) == []


def test_what_leaves_is_no_news() -> None:
    draining = status(instance(M, False), state="draining")
    assert told(WELL, draining, {"pool": "cache", "shards": [], "sentinels": [instance(S)]}) == []


def test_a_planned_failover_is_told_elsewhere() -> None:
    known, _ = changes(None, WELL)
    moved = status(instance(R, False), state="down")
    during, events = changes(known, moved, busy=["cache-0"])
    assert (during, events) == (known, [])
    assert changes(during, status(instance(R), instance(M)))[1] == []


def test_a_master_that_nobody_knows_is_no_instance() -> None:
    unknown = status(instance(None, False), instance(R), state="down")
    assert told(unknown, unknown) == []
