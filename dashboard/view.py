"""From a snapshot to what the page shows: a board of plain values the templates only lay out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dashboard import charts
from dashboard.events import EventLine, event_line
from dashboard.feed import Snapshot
from dashboard.history import SAMPLES, Figures, Sample, figures_of, pool_figures
from dashboard.upstream import Json

QUIET_SECONDS = 8.0
HUES = 8  # colours of the slot bar, used in turn
WORKING = frozenset(("failing over", "joining"))  # states of shards at which somebody works


@dataclass(frozen=True)
class Segment:
    """One shard's part of the slot bar; `start` and `width` in percent."""

    name: str
    hue: int
    start: float
    width: float
    share: float


@dataclass(frozen=True)
class Instance:
    """One redis-server. `facts` are its numbers as in the status; `lag` is words, `load` 0..1."""

    address: str
    role: str
    up: bool
    error: str | None
    facts: Json
    lag: str
    lagging: bool
    load: float | None


@dataclass(frozen=True)
class ShardView:
    """One shard; `working` is whether known work explains what is missing of it."""

    name: str
    hue: int
    state: str
    working: bool
    reason: str | None
    warnings: tuple[str, ...]
    weight: int
    slots: int | None
    share: float
    instances: tuple[Instance, ...]
    sentinel: Json
    ops_spark: charts.Spark | None
    hit_spark: charts.Spark | None


@dataclass(frozen=True)
class Totals:
    """Sums over the masters; memory in bytes, `maxmemory` None if any shard has no limit."""

    figures: Figures
    used_memory: int | None
    maxmemory: int | None
    keys: int | None
    connections: int | None
    apps: int | None
    masters_up: int
    shards: int
    sentinels_up: int
    sentinels: int
    ops_spark: charts.Spark | None
    hit_spark: charts.Spark | None


@dataclass(frozen=True)
class Alert:
    """`level` is `down`, `degraded` or `info`."""

    level: str
    what: str
    why: str


@dataclass(frozen=True)
class Freshness:
    """How far the page may be trusted.

    Attributes:
        state: `live`, `lost` (no connection to a metaserver) or `quiet` (connected, no news).
        since: when that began.
        age: of what is shown, in seconds.
    """

    state: str
    since: datetime
    age: int


@dataclass(frozen=True)
class Board:
    pool: str
    version: int | None
    strategy: str
    health: str
    pools: tuple[Json, ...]
    totals: Totals
    segments: tuple[Segment, ...]
    shards: tuple[ShardView, ...]
    sentinels: tuple[Json, ...]
    sweeps: tuple[Json, ...]
    events: tuple[EventLine, ...]
    alerts: tuple[Alert, ...]


def board(pool: str, snapshot: Snapshot) -> Board:
    """Everything one pool's page shows."""
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
        alerts=tuple(_alerts(status)),
    )


def segments(shares: Sequence[tuple[str, float]], order: Sequence[str] = ()) -> tuple[Segment, ...]:
    """Lay shares (0..1) end to end. `order` fixes which colour a name gets."""
    names = list(order) or [name for name, _ in shares]
    laid, start = [], 0.0
    for name, share in shares:
        hue = (names.index(name) if name in names else len(names)) % HUES
        laid.append(Segment(name, hue, start * 100, share * 100, share))
        start += share
    return tuple(laid)


def _shard(index: int, shard: Json, samples: Sequence[Sample]) -> ShardView:
    name = str(shard["name"])
    own = [sample.shards.get(name) for sample in samples]
    working = shard.get("state") in WORKING
    instances = []
    if shard.get("master"):
        instances.append(_instance(shard["master"], is_master=True))
    instances += [
        _instance(each, is_master=False, working=working) for each in _list(shard, "replicas")
    ]
    return ShardView(
        name=name,
        hue=index % HUES,
        state=str(shard.get("state", "unknown")),
        working=working,
        warnings=tuple(_list(shard, "warnings")),
        reason=shard.get("reason"),
        weight=int(shard.get("weight", 1)),
        slots=shard.get("slots"),
        share=float(shard.get("share") or 0.0),
        instances=tuple(instances),
        sentinel=shard.get("sentinel") or {},
        ops_spark=charts.spark([each.ops if each else None for each in own], SAMPLES),
        hit_spark=_ratio_spark([each.hit_ratio if each else None for each in own]),
    )


def _ratio_spark(values: Sequence[float | None]) -> charts.Spark | None:
    return charts.spark(values, SAMPLES, ceiling=1.0)


def _instance(data: Json, *, is_master: bool, working: bool = False) -> Instance:
    limit, used = data.get("maxmemory") or 0, data.get("used_memory")
    lag, lagging = ("", False) if is_master else _lag(data)
    if working and lagging:
        lag, lagging = "synchronizing", False
    return Instance(
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
    """Replication lag in words, and whether it needs a look."""
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


def _totals(status: Json, samples: Sequence[Sample]) -> Totals:
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
    # Before the shards, each of which a Sentinel that is down degrades.
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
    return sorted(alerts, key=lambda alert: ("down", "degraded", "info").index(alert.level))


def _list(data: Json, name: str) -> list[Any]:
    return list(data.get(name) or ())


def _sum(masters: Sequence[Json], name: str) -> int | None:
    known = [master[name] for master in masters if master.get(name) is not None]
    return sum(known) if known else None


def freshness(snapshot: Snapshot, now: datetime) -> Freshness:
    """How far the page may be trusted: the metaserver speaks every second while it is well."""
    heard = snapshot.last_data or snapshot.since
    age = max(0, int((now - heard).total_seconds()))
    if not snapshot.connected:
        return Freshness("lost", snapshot.since, age)
    if age > QUIET_SECONDS:
        return Freshness("quiet", heard, age)
    return Freshness("live", snapshot.since, age)
