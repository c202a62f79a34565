"""The status document of docs/api.md, from what instances and Sentinels say.

The state of a shard is that of `metaserver.domain.shard_state`; or `joining` while keys move to a
shard that is new and well; or `draining` once the shard has left the pool and is being emptied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cachemesh.core.placement import SlotsPlacement
from metaserver.domain.fence_record import fenced_of
from metaserver.domain.info_fields import MAX_REPLICAS, keys_in, number, replicas_in
from metaserver.domain.planning import quorum_of
from metaserver.domain.pool_pause import IS_PAUSED, told_pause
from metaserver.domain.pool_state import PoolState, Sweep
from metaserver.domain.resize import incoming
from metaserver.domain.resize_status import status_of
from metaserver.domain.sentinel_view import SentinelView, majority
from metaserver.domain.shard_state import (
    PlannedWork,
    ShardFault,
    fails_over,
    is_usable,
    judge,
    sentinel_faults,
    views_of,
    warnings_of,
)

_INCOMING = "it is new, and keys move to it"
_DOWN = frozenset(("s_down", "o_down"))  # flags of SENTINEL MASTER
_COUNTERS = ("total_commands_processed", "keyspace_hits", "keyspace_misses")


@dataclass(frozen=True)
class InstanceSample:
    """The fields of INFO of one instance.

    Attributes:
        at: when they came, in monotonic seconds.
        error: why the instance gave none; None if it did.
    """

    address: str
    at: float
    info: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class Observation:
    """Everything that was observed of a pool at one moment.

    Attributes:
        at: RFC 3339 in UTC.
        views: Sentinel address -> what that Sentinel says.
        samples: instance address -> its newest sample.
        earlier: instance address -> the older sample that rates are computed from.
        clients: the number of live clients.
        work: shard -> the work on it that goes as planned.
        observer: whether the metaserver only observes Sentinels, and so changes nothing.
    """

    at: str
    state: PoolState
    views: Mapping[str, SentinelView]
    samples: Mapping[str, InstanceSample]
    earlier: Mapping[str, InstanceSample]
    clients: int
    work: Mapping[str, PlannedWork] = field(default_factory=dict)
    observer: bool = False

    @cached_property
    def incoming(self) -> tuple[str, ...]:
        """The shards that keys move to, and that the placement does not have yet."""
        return incoming(self.state.document)


def shard_names(state: PoolState) -> tuple[str, ...]:
    """Return the shards of a pool; those that have left it and are being emptied come last.

    Before these come shards that keys move to already.
    """
    names = (*state.document.placement.names, *incoming(state.document))
    return (*names, *(s.shard for s in state.sweeps if s.drained and s.shard not in names))


def master_address(shard: str, state: PoolState, views: Mapping[str, SentinelView]) -> str | None:
    """Return the master that most Sentinels name, else the last known one."""
    known = views_of(shard, views)
    agreed = majority([view.master for view in known])
    if agreed is not None:
        return agreed
    drained = [sweep.master for sweep in state.sweeps if sweep.drained and sweep.shard == shard]
    return state.masters.get(shard) or (drained[0] if drained else None)


def replica_addresses(
    shard: str, master: str | None, views: Mapping[str, SentinelView], sample: InstanceSample | None
) -> tuple[str, ...]:
    """Return the replicas that a Sentinel or the master knows.

    They are in address order, and no more than MAX_REPLICAS; `sample` is that of the master.
    """
    found = {replica for view in views_of(shard, views) for replica in view.replicas}
    if sample is not None:
        found.update(replicas_in(sample.info))
    return tuple(sorted(found - {master})[:MAX_REPLICAS])


def pool_status(seen: Observation) -> dict[str, Any]:
    """Return the status document of a pool."""
    document = seen.state.document
    shards = [shard_status(name, seen) for name in shard_names(seen.state)]
    sentinels = [
        {"address": view.address, "up": view.error is None, "error": view.error}
        for view in seen.views.values()
    ]
    pause = told_pause(document)
    return {
        "pool": document.pool,
        "version": document.version,
        "at": seen.at,
        "health": _health(shards, sentinels),
        "pause": pause,
        "shards": shards,
        "sentinels": sentinels,
        "resize": status_of(seen.state),
        "fenced": fenced_of(document),
        "sweeps": [_sweep(sweep, waits=pause is not None) for sweep in seen.state.sweeps],
        "clients": seen.clients,
        "observer": seen.observer,
    }


def shard_status(name: str, seen: Observation) -> dict[str, Any]:
    """Return one shard of the status document."""
    placement = seen.state.document.placement
    address = master_address(name, seen.state, seen.views)
    master_sample = seen.samples.get(address or "")
    master = _instance(address, master_sample, seen.earlier.get(address or ""))
    replicas = [
        _replica(at, master_sample, seen)
        for at in replica_addresses(name, address, seen.views, master_sample)
    ]
    failover = fails_over(name, seen.views, replicas)
    quorum = quorum_of(seen.state.document)
    sentinel, faults = _sentinel(name, seen.views, quorum, failover=failover)
    shard = next((shard for shard in placement.shards if shard.name == name), None)
    state, reason = judge(master, replicas, sentinel, faults, seen.work.get(name))
    if name in seen.incoming:
        state, reason = ("joining", _INCOMING) if state == "up" else (state, reason)
    elif shard is None:
        state = "draining"
    slots = placement.slot_counts().get(name, 0) if isinstance(placement, SlotsPlacement) else None
    return {
        "name": name,
        "weight": shard.weight if shard else 0,
        "slots": slots,
        "share": round(placement.share(name), 6) if shard else 0.0,
        "state": state,
        "reason": reason,
        "warnings": warnings_of(replicas),
        "master": master,
        "replicas": replicas,
        "sentinel": sentinel,
    }


def _instance(
    address: str | None, sample: InstanceSample | None, earlier: InstanceSample | None
) -> dict[str, Any]:
    """Return an instance with its numbers, which are None while the instance does not answer."""
    up = sample is not None and sample.error is None
    if address is None:
        error: str | None = "no Sentinel names a master, and none was known before"
    else:
        error = sample.error if sample else "not looked at yet"
    info = sample.info if sample and up else None
    role = info.get("role") if info else None
    return {
        "address": address,
        "up": up,
        "role": "replica" if role == "slave" else role,
        "error": error,
        "ops_per_second": _ops(sample, earlier) if sample and up else None,
        "hit_ratio": _hit_ratio(sample, earlier) if sample and up else None,
        "used_memory": number(info, "used_memory") if info else None,
        "maxmemory": number(info, "maxmemory") if info else None,
        "maxmemory_policy": info.get("maxmemory_policy") if info else None,
        "keys": keys_in(info) if info else None,
        "clients": number(info, "connected_clients") if info else None,
        "redis_version": info.get("redis_version") if info else None,
        "uptime_seconds": number(info, "uptime_in_seconds") if info else None,
        "evicted_keys": number(info, "evicted_keys") if info else None,
    }


def _replica(address: str, master: InstanceSample | None, seen: Observation) -> dict[str, Any]:
    sample = seen.samples.get(address)
    status = _instance(address, sample, seen.earlier.get(address))
    info = sample.info if sample else {}
    link = info.get("master_link_status")
    lag_bytes = lag_seconds = None
    if link is not None:
        silent = "master_last_io_seconds_ago" if link == "up" else "master_link_down_since_seconds"
        seconds = number(info, silent, missing=-1)
        lag_seconds = seconds if seconds >= 0 else None
        if master is not None and master.info.get("role") == "master":
            behind = number(master.info, "master_repl_offset") - number(info, "slave_repl_offset")
            lag_bytes = max(0, behind)
    return {**status, "link": link, "lag_bytes": lag_bytes, "lag_seconds": lag_seconds}


def _counts_on(sample: InstanceSample, earlier: InstanceSample | None) -> bool:
    """Whether the counters of the later sample go on from those of the earlier one.

    They begin anew with a new process, and CONFIG RESETSTAT sets them back to 0.
    """
    return (
        earlier is not None
        and earlier.at < sample.at
        and earlier.info.get("run_id") == sample.info.get("run_id")
        and all(_grown(sample, earlier, name) >= 0 for name in _COUNTERS)
    )


def _grown(sample: InstanceSample, earlier: InstanceSample, name: str) -> int:
    return number(sample.info, name) - number(earlier.info, name)


def _ops(sample: InstanceSample, earlier: InstanceSample | None) -> int:
    if earlier is None or not _counts_on(sample, earlier):
        return number(sample.info, "instantaneous_ops_per_sec")
    done = _grown(sample, earlier, "total_commands_processed")
    return round(done / (sample.at - earlier.at))


def _hit_ratio(sample: InstanceSample, earlier: InstanceSample | None) -> float | None:
    if earlier is None or not _counts_on(sample, earlier):
        return None
    hits = _grown(sample, earlier, "keyspace_hits")
    misses = _grown(sample, earlier, "keyspace_misses")
    return round(hits / (hits + misses), 4) if hits + misses else None


def _sentinel(
    shard: str, views: Mapping[str, SentinelView], configured: int, *, failover: bool
) -> tuple[dict[str, Any], list[ShardFault]]:
    """Return what the Sentinels say of a shard, and the faults in it."""
    known = views_of(shard, views)
    of = len(views)
    quorum = max((view.quorum for view in known), default=configured)
    faults = sentinel_faults(shard, views, failover=failover)
    summary = f"{len(known)} of {of} Sentinels, quorum {quorum}"
    sentinel = {
        "quorum": quorum,
        "seen_by": len(known),
        "of": of,
        "down_votes": sum(bool(view.flags & _DOWN) for view in known),
        "agree": len({view.master for view in known}) == 1,
        "usable": is_usable(shard, views),
        "failover": failover,
        "detail": "; ".join([summary, *(fault.text for fault in faults)]),
    }
    return sentinel, faults


def _health(shards: Sequence[Mapping[str, Any]], sentinels: Sequence[Mapping[str, Any]]) -> str:
    """Return the health of a pool, which work that goes as planned does not affect."""
    states = {shard["state"] for shard in shards}
    if "down" in states:
        return "down"
    if "degraded" in states or not all(sentinel["up"] for sentinel in sentinels):
        return "degraded"
    return "ok"


def _sweep(sweep: Sweep, *, waits: bool) -> dict[str, Any]:
    """Return a sweep; `waits`: the pool is paused."""
    return {
        "shard": sweep.shard,
        "state": "waiting" if waits and sweep.state == "running" else sweep.state,
        "version": sweep.version,
        "drained": sweep.drained,
        "removed": sweep.removed,
        "detail": sweep.detail or (IS_PAUSED if waits else ""),
    }
