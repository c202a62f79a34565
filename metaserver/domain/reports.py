"""Changes of a pool since the last report, as entries for the audit log.

status document + ReportedState --> ReportedState after, and the new entries
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from metaserver.domain.audit_log import NewEvent
from metaserver.domain.pool_state import ReportedState

Json = Mapping[str, Any]


def changes(
    before: ReportedState | None, status: Json, busy: Collection[str] = ()
) -> tuple[ReportedState, list[NewEvent]]:
    """Compare a status with the last report of the pool.

    Args:
        before: None if nothing was reported yet. Then all instances count as known, and only those
            that do not answer are reported.
        busy: shards with a planned failover, which has an entry of its own: nothing else is
            reported of them.

    Returns:
        The state after this report, and the new entries.
    """
    reported = before or ReportedState()
    pool = status["pool"]
    events: list[NewEvent] = []
    shards, instances = dict[str, bool](), dict[str, Mapping[str, bool]]()
    for shard in status["shards"]:
        name = shard["name"]
        if shard["state"] == "draining":
            continue
        if name in busy:
            shards[name] = reported.shards.get(name, True)
            if name in reported.instances:
                instances[name] = reported.instances[name]
            continue
        shards[name] = shard["state"] != "down"
        instances[name] = {each["address"]: each["up"] for each in _instances_of(shard)}
        events += _shard_changes(pool, shard, reported.shards.get(name, True))
        events += _replica_changes(pool, shard, reported.instances.get(name))
    events += _sentinel_changes(pool, status, reported.sentinels)
    sentinels = {each["address"]: each["up"] for each in status["sentinels"]}
    return ReportedState(shards, instances, sentinels), events


def _instances_of(shard: Json) -> list[Json]:
    return [each for each in (shard["master"], *shard["replicas"]) if each["address"]]


def _shard_changes(pool: str, shard: Json, was_up: bool) -> Iterator[NewEvent]:
    up = shard["state"] != "down"
    if up != was_up:
        detail = "it serves again" if up else str(shard["reason"])
        yield NewEvent(
            "shard.up" if up else "shard.down", pool=pool, target=shard["name"], detail=detail
        )


def _replica_changes(
    pool: str, shard: Json, before: Mapping[str, bool] | None
) -> Iterator[NewEvent]:
    """Report replicas that came, went, died or are back; the shard's state tells of its master.

    `before` is None for a new shard, whose replicas are not reported as added.
    """
    known = {} if before is None else before
    joining = before is None or shard["state"] == "joining"
    for replica in shard["replicas"]:
        address, up = replica["address"], replica["up"]
        if address not in known and not joining:
            yield _of_replica("replica.added", pool, shard, address, "it was not there before")
        if up != known.get(address, True):
            detail = "it answers again" if up else str(replica["error"])
            yield _of_replica("replica.up" if up else "replica.down", pool, shard, address, detail)
    there = {each["address"] for each in _instances_of(shard)}
    for address in sorted(known.keys() - there):
        detail = "neither the master nor a Sentinel knows it any more"
        yield _of_replica("replica.gone", pool, shard, address, detail)


def _of_replica(action: str, pool: str, shard: Json, address: str, detail: str) -> NewEvent:
    name = shard["name"]
    return NewEvent(
        action,
        pool=pool,
        target=address,
        detail=f"replica of {name}: {detail}",
        after={"shard": name, "replicas": len(shard["replicas"])},
    )


def _sentinel_changes(pool: str, status: Json, before: Mapping[str, bool]) -> Iterator[NewEvent]:
    for sentinel in status["sentinels"]:
        address, up = sentinel["address"], sentinel["up"]
        if up != before.get(address, True):
            yield NewEvent(
                "sentinel.up" if up else "sentinel.down",
                pool=pool,
                target=address,
                detail="it answers again" if up else str(sentinel["error"]),
            )
