"""Turns a snapshot of a pool into what its page shows: the values of `view_model`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from dashboard import charts
from dashboard.events import event_line
from dashboard.feed import PoolSnapshot
from dashboard.felt import felt_pool
from dashboard.history import SAMPLES, HistorySample, figures_of, pool_figures
from dashboard.migration_view import migration_of
from dashboard.upstream import Json
from dashboard.view_model import Alert, Board, Freshness, InstanceRow, Segment, ShardRow, Totals

QUIET_SECONDS = 8.0
OBSERVER = (
    "this metaserver shows what Sentinels monitor and keeps nothing: adding, removing, weights, "
    "failovers, settings and sweeps need one with --db or --zookeeper; versions and events began "
    "when it started"
)
HUES = 8  # colours of the slot bar, used in turn
WORKING = frozenset(("failing over", "joining"))  # states of shards during known work


def board(pool: str, snapshot: PoolSnapshot) -> Board:
    """Return everything that a pool's page shows."""
    status: Json = snapshot.status or {}
    document: Json = snapshot.document or {}
    shards = tuple(
        _shard(index, shard, snapshot.samples)
        for index, shard in enumerate(_list(status, "shards"))
    )
    return Board(
        pool=pool,
        version=status.get("version", document.get("version")),
        strategy=str((document.get("placement") or {}).get("strategy", "")),
        health=str(status.get("health", "unknown")),
        pools=snapshot.pools or ({"pool": pool, "health": status.get("health", "unknown")},),
        totals=_totals(status, snapshot.samples),
        segments=segments([(shard.name, shard.share) for shard in shards]),
        shards=shards,
        sentinels=tuple(_list(status, "sentinels")),
        sweeps=tuple(_list(status, "sweeps")),
        events=tuple(event_line(event) for event in snapshot.events),
        felt=felt_pool(snapshot.quality),
        migration=migration_of(status, {shard.name: shard.hue for shard in shards}),
        observer=bool(status.get("observer")),
        alerts=tuple(_alerts(status)),
    )


def segments(shares: Sequence[tuple[str, float]], order: Sequence[str] = ()) -> tuple[Segment, ...]:
    """Lay out the slot bar: the shares of all shards, end to end.

    Args:
        shares: each shard's name and share (0 to 1).
        order: names in the order of their colours; empty: that of `shares`.
    """
    names = list(order) or [name for name, _ in shares]
    laid, start = [], 0.0
    for name, share in shares:
        hue = (names.index(name) if name in names else len(names)) % HUES
        laid.append(Segment(name, hue, start * 100, share * 100, share))
        start += share
    return tuple(laid)


def _shard(index: int, shard: Json, samples: Sequence[HistorySample]) -> ShardRow:
    name = str(shard["name"])
    own = [sample.shards.get(name) for sample in samples]
    working, weight = shard.get("state") in WORKING, int(shard.get("weight", 1))
    instances = []
    if shard.get("master"):
        instances.append(_instance(shard["master"], is_master=True))
    instances += [
        _instance(each, is_master=False, working=working) for each in _list(shard, "replicas")
    ]
    return ShardRow(
        name=name,
        hue=index % HUES,
        state=str(shard.get("state", "unknown")),
        working=working,
        placed=weight > 0,
        warnings=tuple(_list(shard, "warnings")),
        reason=shard.get("reason"),
        weight=weight,
        slots=shard.get("slots"),
        share=float(shard.get("share") or 0.0),
        instances=tuple(instances),
        sentinel=shard.get("sentinel") or {},
        ops_spark=charts.spark([each.ops if each else None for each in own], SAMPLES),
        hit_spark=_ratio_spark([each.hit_ratio if each else None for each in own]),
    )


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


def _alerts(status: Json) -> list[Alert]:
    alerts = []
    # Sentinels first: one that is down degrades every shard.
    for each in _list(status, "sentinels"):
        if not each.get("up"):
            why = str(each.get("error") or "it does not answer")
            alerts.append(Alert("degraded", f"Sentinel {each.get('address')} is down", why))
    for shard in _list(status, "shards"):
        state = shard.get("state")
        if state in ("down", "degraded"):
            alerts.append(
                Alert(state, f"{shard['name']} is {state}", str(shard.get("reason") or ""))
            )
        elif state in WORKING:
            reason = str(shard.get("reason") or "")
            alerts.append(Alert("info", f"{shard['name']} is {state}", reason))
    for sweep in _list(status, "sweeps"):
        if sweep.get("state") == "failed":
            what = f"Sweep of {sweep.get('shard')} failed"
            alerts.append(Alert("degraded", what, str(sweep.get("detail") or "")))
    if status.get("observer"):
        alerts.append(Alert("info", "Observed, read only", OBSERVER))
    return sorted(alerts, key=lambda alert: ("down", "degraded", "info").index(alert.level))


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
