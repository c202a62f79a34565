"""What a pool's page shows, as plain values that the templates only lay out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from dashboard import charts
from dashboard.alerts import Alert
from dashboard.events import EventLine
from dashboard.history import Figures
from dashboard.slot_map import SlotMap
from dashboard.upstream import Json


@dataclass(frozen=True)
class InstanceRow:
    """One redis-server in a shard's card.

    Attributes:
        address, role, up: as the status has them.
        error: why the instance is down, or None.
        facts: the instance's object in the status.
        lag: the replication lag in words, or "".
        lagging: whether the lag needs attention.
        load: used share of its maxmemory, 0 to 1; None without a limit.
    """

    address: str
    role: str
    up: bool
    error: str | None
    facts: Json
    lag: str
    lagging: bool
    load: float | None


@dataclass(frozen=True)
class Felt:
    """What apps felt of a shard, or of the pool, in the last minute.

    Attributes:
        calls: answered, per second.
        errors: failed calls per second.
        classes: the classes of errors, each with its rate per second, the most frequent first.
        p50, p99: seconds within which so many percent of the calls were done; None without calls.
        open, half_open: in how many clients the breaker is so.
    """

    calls: float
    errors: float
    classes: tuple[tuple[str, float], ...]
    p50: float | None
    p99: float | None
    open: int
    half_open: int


@dataclass(frozen=True)
class FeltPool:
    """What apps felt of a pool in the last minute.

    Attributes:
        total: of all shards.
        shards: by name; only those that were called, or whose breaker is not closed in a client.
        reporting: how many clients have reported.
        silent: the metaservers whose clients are not counted, as they tell nothing.
    """

    total: Felt
    shards: Mapping[str, Felt]
    reporting: int
    silent: tuple[str, ...]


@dataclass(frozen=True)
class ShardRow:
    """One shard, in one line or with its details.

    Attributes:
        name, state, reason, warnings, weight, slots, sentinel: as the status has them.
        hue: the number of its colour.
        working: whether a failover or a join explains the state.
        placed: whether it is in the pool's placement.
        share: of the slots, 0 to 1.
        instances: master first.
        figures: the master's object in the status; empty while the master is not up.
        behind: seconds that the replica is behind which is so most; infinite for one that does
            not follow, None without a replica.
        replicas: how the replicas do, in a word or two.
        lagging: whether that needs attention.
    """

    name: str
    hue: int
    state: str
    working: bool
    placed: bool
    reason: str | None
    warnings: tuple[str, ...]
    weight: int
    slots: int | None
    share: float
    instances: tuple[InstanceRow, ...]
    sentinel: Json
    figures: Json
    behind: float | None
    replicas: str
    lagging: bool


@dataclass(frozen=True)
class Totals:
    """The pool's figures.

    Attributes:
        figures: operations per second and hit ratio.
        used_memory: bytes, over all masters.
        maxmemory: bytes, over all masters; None if a master has no limit.
        keys, connections: over all masters.
        apps: how many clients follow the pool.
        masters_up, shards: how many masters are up, of how many.
        sentinels_up, sentinels: how many Sentinels are up, of how many.
        ops_spark, hit_spark: operations per second and hit ratio of the last minutes.
    """

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
class Phase:
    """A phase of a resize, and where it stands."""

    word: str
    standing: Literal["past", "now", "to come"]


@dataclass(frozen=True)
class MigrationSource:
    """A shard that keys leave in this stage of a resize.

    Attributes:
        shard, to: the shard, and those that its keys go to.
        hue: the number of its colour.
        state: "moving", "waits" or "done".
        share: of its keys that have left it, 0 to 1; None if that is not known.
        moved, left: keys; None where not known.
        size: bytes that the moved keys took; None if that is not known.
        why: it waits, or "".
    """

    shard: str
    hue: int
    to: tuple[str, ...]
    state: str
    share: float | None
    moved: int | None
    size: int | None
    left: int | None
    why: str


@dataclass(frozen=True)
class MigrationPanel:
    """A resize under way.

    Attributes:
        summary, actor: the change, and who asked for it.
        state: in a word or two.
        phases: all, in order.
        moves: whether keys are moved, and not dropped.
        back: whether it was given up, and keys move back.
        paused: whether an operator has paused it.
        stage, stages: the stage, from 1 on, and how many there are.
        share: of this stage that is done, 0 to 1; None if that is not known.
        moved, left: keys; None where not known.
        size: bytes that the keys moved in this stage took; None if that is not known.
        rate: keys a second.
        seconds_left: of this stage; None if that is not known.
        longest_hold: seconds that clients held commands at most; None before that.
        keys_per_second, max_latency: bounds; 0 for none.
        why: it waits, or "".
        fenced: ids of clients.
        lost: shards whose data is lost, as an operator has said.
        sources: by name.
    """

    summary: str
    actor: str
    state: str
    phases: tuple[Phase, ...]
    moves: bool
    back: bool
    paused: bool
    stage: int
    stages: int
    share: float | None
    moved: int
    size: int | None
    left: int | None
    rate: float
    seconds_left: float | None
    longest_hold: float | None
    keys_per_second: int
    max_latency: int
    why: str
    fenced: tuple[str, ...]
    lost: tuple[str, ...]
    sources: tuple[MigrationSource, ...]


@dataclass(frozen=True)
class Freshness:
    """How current the page is.

    Attributes:
        state: `live`, `lost` (no connection to a metaserver) or `quiet` (connected, but no data).
        since: when this state began.
        age: of the shown data, in seconds.
    """

    state: str
    since: datetime
    age: int


@dataclass(frozen=True)
class Board:
    """Everything that a pool's page shows."""

    pool: str
    version: int | None
    strategy: str
    health: str
    pools: tuple[Json, ...]
    totals: Totals
    slots: SlotMap
    shards: tuple[ShardRow, ...]
    sentinels: tuple[Json, ...]
    sweeps: tuple[Json, ...]
    events: tuple[EventLine, ...]
    felt: FeltPool | None
    migration: MigrationPanel | None
    paused: bool
    observer: bool
    alerts: tuple[Alert, ...]
    all_well: str
