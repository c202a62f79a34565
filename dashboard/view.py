"""Turns a snapshot of a pool into what its page shows: the values of `view_model`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cachemesh.core.placement.keys import SLOT_COUNT
from dashboard import charts
from dashboard.alerts import WORKING, alerts_of, all_well
from dashboard.events import event_line
from dashboard.feed import PoolSnapshot
from dashboard.felt import felt_pool
from dashboard.history import SAMPLES, HistorySample, figures_of, pool_figures
from dashboard.migration_view import migration_of
from dashboard.slot_map import HUES, MappedShard, Range, SlotMap, slot_map
from dashboard.upstream import Json
from dashboard.view_model import Board, Freshness, InstanceRow, ShardRow, Totals

QUIET_SECONDS = 8.0


def board(pool: str, snapshot: PoolSnapshot) -> Board:
    """Return everything that a pool's page shows."""
    status: Json = snapshot.status or {}
    document: Json = snapshot.document or {}
    shards = tuple(shard_row(index, shard) for index, shard in enumerate(_list(status, "shards")))
    events = tuple(event_line(event) for event in snapshot.events)
    return Board(
        pool=pool,
        version=status.get("version", document.get("version")),
        strategy=str((document.get("placement") or {}).get("strategy", "")),
        health=str(status.get("health", "unknown")),
        pools=snapshot.pools or ({"pool": pool, "health": status.get("health", "unknown")},),
        totals=_totals(status, snapshot.samples),
        slots=map_of(document, status),
        shards=shards,
        sentinels=tuple(_list(status, "sentinels")),
        sweeps=tuple(_list(status, "sweeps")),
        events=events,
        felt=felt_pool(snapshot.quality),
        migration=migration_of(status, {shard.name: shard.hue for shard in shards}),
        paused=bool(status.get("pause")),
        observer=bool(status.get("observer")),
        alerts=alerts_of(status, events),
        all_well=all_well(status),
    )


def map_of(
    document: Json,
    status: Json,
    former: Mapping[int, str] | None = None,
    shares: Mapping[str, float] | None = None,
) -> SlotMap:
    """Return the slot map of a pool's document.

    Args:
        document: of the pool, which has the slots.
        status: of the pool, which has states, shares and the order of the colours.
        former: slot -> owner on the other side of a change.
        shares: of the keys, by shard, where the placement has no slots; None: those of the status.
    """
    told = {str(shard["name"]): shard for shard in _list(status, "shards")}
    if shares is None:
        shares = {name: float(shard.get("share") or 0.0) for name, shard in told.items()}
    ranges, names = ranges_of(document), list(told)
    mapped = []
    for name in ranges or shares:
        owned = ranges.get(name, ())
        if name not in names:
            names.append(name)
        mapped.append(
            MappedShard(
                name=name,
                hue=names.index(name) % HUES,
                state=str(told.get(name, {}).get("state", "")),
                share=share_of(owned) if ranges else shares[name],
                slots=owned,
            )
        )
    return slot_map(mapped, former)


def ranges_of(document: Json) -> dict[str, tuple[Range, ...]]:
    """Return the slots of each shard; empty where the placement has none."""
    placement: Json = document.get("placement") or {}
    shards = _list(placement, "shards")
    if not any(shard.get("slots") for shard in shards):
        return {}
    return {
        str(shard["name"]): tuple((int(first), int(last)) for first, last in shard.get("slots", ()))
        for shard in shards
    }


def share_of(ranges: Sequence[Range]) -> float:
    """Return which part of all slots some ranges have, 0 to 1."""
    return sum(last - first + 1 for first, last in ranges) / SLOT_COUNT


def ops_spark(name: str, samples: Sequence[HistorySample]) -> charts.Spark | None:
    """Draw a shard's operations per second of the last minutes."""
    own = [sample.shards.get(name) for sample in samples]
    return charts.spark([each.ops if each else None for each in own], SAMPLES)


def shard_row(index: int, shard: Json) -> ShardRow:
    """Return a shard of a status.

    Args:
        index: its place in the status, which has the order of the colours.
    """
    working, weight = shard.get("state") in WORKING, int(shard.get("weight", 1))
    master: Json = shard.get("master") or {}
    instances = [_instance(master, is_master=True)] if master else []
    replicas = [
        _instance(each, is_master=False, working=working) for each in _list(shard, "replicas")
    ]
    word, lagging = _replicas(replicas)
    return ShardRow(
        name=str(shard["name"]),
        hue=index % HUES,
        state=str(shard.get("state", "unknown")),
        working=working,
        placed=weight > 0,
        warnings=tuple(_list(shard, "warnings")),
        reason=shard.get("reason"),
        weight=weight,
        slots=shard.get("slots"),
        share=float(shard.get("share") or 0.0),
        instances=(*instances, *replicas),
        sentinel=shard.get("sentinel") or {},
        figures=master if master.get("up") else {},
        behind=max(map(_behind, replicas), default=None),
        replicas=word,
        lagging=lagging,
    )


def _replicas(replicas: Sequence[InstanceRow]) -> tuple[str, bool]:
    """Return how all replicas of a shard do, and whether that needs attention."""
    if not replicas:
        return "none", False
    gone = sum(not each.up for each in replicas)
    if gone:
        return f"{gone} of {len(replicas)} down", True
    worst = max(replicas, key=lambda each: (each.lagging, _behind(each)))
    return worst.lag, worst.lagging


def _behind(replica: InstanceRow) -> float:
    """Return how many seconds a replica is behind."""
    facts = replica.facts
    if not replica.up or facts.get("link") not in (None, "up"):
        return float("inf")
    # Bytes count where seconds do not tell: they come after the point.
    behind = min(0.999, float(facts.get("lag_bytes") or 0) / 1e9)
    return float(facts.get("lag_seconds") or 0) + behind


def _ratio_spark(values: Sequence[float | None]) -> charts.Spark | None:
    return charts.spark(values, SAMPLES, ceiling=1.0)


def _instance(data: Json, *, is_master: bool, working: bool = False) -> InstanceRow:
    limit, used = data.get("maxmemory") or 0, data.get("used_memory")
    lag, lagging = ("", False) if is_master else _lag(data)
    if working and lagging:
        lag, lagging = "synchronizing", False
    return InstanceRow(
        address=str(data.get("address") or "address unknown"),
        role=str(data.get("role") or ("master" if is_master else "replica")),
        up=bool(data.get("up")),
        error=data.get("error"),
        facts=data,
        lag=lag,
        lagging=lagging,
        load=min(used / limit, 1.0) if limit and used is not None else None,
    )


def _lag(data: Json) -> tuple[str, bool]:
    """Return the replication lag in words, and whether it needs attention."""
    if not data.get("up"):
        return "", False
    if data.get("link") not in (None, "up"):
        return "link down", True
    seconds, behind = data.get("lag_seconds"), data.get("lag_bytes")
    if seconds is None and behind is None:
        return "unknown", False
    if seconds and seconds > 1:
        return f"{seconds} s behind", seconds > 10
    if behind:
        return f"{behind:,} B behind", False
    return "in sync", False


def _totals(status: Json, samples: Sequence[HistorySample]) -> Totals:
    masters = [shard.get("master") or {} for shard in _list(status, "shards")]
    limits = [int(each["maxmemory"]) for each in masters if each.get("maxmemory") is not None]
    sentinels = _list(status, "sentinels")
    return Totals(
        figures=pool_figures(figures_of(status)),
        used_memory=_sum(masters, "used_memory"),
        maxmemory=sum(limits) if limits and all(limits) else None,
        keys=_sum(masters, "keys"),
        connections=_sum(masters, "clients"),
        apps=status.get("clients"),
        masters_up=sum(bool(master.get("up")) for master in masters),
        shards=len(masters),
        sentinels_up=sum(bool(each.get("up")) for each in sentinels),
        sentinels=len(sentinels),
        ops_spark=charts.spark([sample.pool.ops for sample in samples], SAMPLES),
        hit_spark=_ratio_spark([sample.pool.hit_ratio for sample in samples]),
    )


def _list(data: Json, name: str) -> list[Any]:
    return list(data.get(name) or ())


def _sum(masters: Sequence[Json], name: str) -> int | None:
    known = [master[name] for master in masters if master.get(name) is not None]
    return sum(known) if known else None


def freshness(snapshot: PoolSnapshot, now: datetime) -> Freshness:
    """Return how current the page is; a metaserver without trouble sends something every second.

    Args:
        snapshot: what the page shows.
        now: the current time.
    """
    heard = snapshot.last_data or snapshot.since
    age = max(0, int((now - heard).total_seconds()))
    if not snapshot.connected:
        return Freshness("lost", snapshot.since, age)
    if age > QUIET_SECONDS:
        return Freshness("quiet", heard, age)
    return Freshness("live", snapshot.since, age)
