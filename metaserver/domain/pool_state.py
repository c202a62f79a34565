"""What is known of a pool: its document, and what is under way on its shards.

An intent is a step on Sentinels that may be half done; a sweep is the removal of keys from a
former owner; a failover is a planned one under way; work is an addition or a planned failover for
as long as its effects show. Every address is "host:port".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from cachemesh.core.pool.document import PoolDocument

SweepState: TypeAlias = Literal["waiting", "running", "failed"]
IntentAction: TypeAlias = Literal["create", "add", "delete"]
WorkKind: TypeAlias = Literal["failing over", "joining"]

JOINING_SECONDS = 30.0
"""Seconds within which Sentinels know a new shard, its replicas and each other; it takes 2 to 4."""


@dataclass(frozen=True)
class NewSweep:
    """A sweep to be stored together with the change that calls for it; fields as in `Sweep`."""

    shard: str
    master: str | None
    drained: bool = False


@dataclass(frozen=True)
class Sweep:
    """The removal of the keys that a shard no longer owns.

    Attributes:
        master: address of the shard's master when the sweep was stored, if it was known.
        version: the pool version from which on the shard no longer owns the keys.
        drained: the shard has left the pool: all its keys are removed, and only then Sentinel
            forgets the shard.
        removed: the number of keys removed so far.
        detail: why the sweep makes no progress, or "".
        created: seconds since the epoch.
    """

    id: int
    pool: str
    shard: str
    master: str | None
    version: int
    drained: bool
    state: SweepState
    removed: int
    detail: str
    created: float


@dataclass(frozen=True)
class NewIntent:
    """A step on Sentinels that is about to begin, for one shard; fields as in `Intent`."""

    pool: str
    shard: str
    master: str
    action: IntentAction
    sentinels: tuple[str, ...]
    owner: str


@dataclass(frozen=True)
class Intent:
    """A step on Sentinels that may be half done.

    An intent is stored before SENTINEL MONITOR, and deleted in the transaction that puts the shard
    into the pool document.

    Attributes:
        action: "create" and "add" belong to a change of the document. "delete" belongs to none:
            the shard has left already, and the Sentinels still have to forget it.
        owner: the `process_identity()` of the process that carries the step out.
        undoing: a process has begun to undo the step; the document change can no longer happen.
        created: seconds since the epoch.
    """

    id: int
    pool: str
    shard: str
    master: str
    action: IntentAction
    sentinels: tuple[str, ...]
    owner: str
    undoing: bool
    created: float


@dataclass(frozen=True)
class NewFailover:
    """A planned failover that is about to begin; fields as in `Failover`."""

    pool: str
    shard: str
    master: str
    sentinels: tuple[str, ...]
    owner: str


@dataclass(frozen=True)
class Failover:
    """A planned failover under way.

    A failover is stored before anything is changed on instances or Sentinels, and deleted once the
    shard has one master again and every setting is restored.

    Attributes:
        master: the master before.
        owner: the `process_identity()` of the process that carries it out, or "" once repair has
            to resolve it.
        saved_settings: the settings to be restored, as JSON.
    """

    id: int
    pool: str
    shard: str
    master: str
    sentinels: tuple[str, ...]
    owner: str
    saved_settings: Mapping[str, Any]


@dataclass(frozen=True)
class ShardWork:
    """An addition or a planned failover of a shard, for as long as its effects show.

    Attributes:
        began: seconds since the epoch.
        within: seconds after which the work has taken too long.
    """

    id: int
    shard: str
    kind: WorkKind
    began: float
    within: float


@dataclass(frozen=True)
class PoolState:
    """One consistent read of a pool.

    Attributes:
        sweeps: the unfinished ones, oldest first.
        masters: shard -> last known master.
        work: shard -> its work.
        failovers: shard -> its planned failover under way.
        progress: how far keys have moved, as `metaserver.domain.move_progress` tells it, if they
            move or did lately.
    """

    document: PoolDocument
    sweeps: tuple[Sweep, ...] = ()
    masters: Mapping[str, str] = field(default_factory=dict)
    work: Mapping[str, ShardWork] = field(default_factory=dict)
    failovers: Mapping[str, Failover] = field(default_factory=dict)
    progress: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ReportedState:
    """What the audit log has reported of a pool so far.

    Attributes:
        shards: shard -> whether it serves.
        instances: shard -> address of its master and replicas -> whether the instance answers.
        sentinels: address -> whether the Sentinel answers.
    """

    shards: Mapping[str, bool] = field(default_factory=dict)
    instances: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    sentinels: Mapping[str, bool] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> ReportedState:
        """Return the reverse of `dataclasses.asdict`."""
        return cls(**kept)
