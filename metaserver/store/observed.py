"""What the store keeps for whoever watches the pools: known work on shards, and what was reported.

planned failover, addition --> Work of the shard --> state "failing over" or "joining"
observation --> events, and Seen: what they have told so far, in one transaction
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from metaserver.store import NewEvent

WorkKind: TypeAlias = Literal["failing over", "joining"]

JOINING_WITHIN = 30.0
"""Seconds within which Sentinels know a new shard, its replicas and each other; it takes 2 to 4."""


@dataclass(frozen=True)
class Work:
    """What is done to a shard on purpose, as long as it shows.

    `began` is in seconds since the epoch; after `within` seconds it has taken too long.
    """

    id: int
    shard: str
    kind: WorkKind
    began: float
    within: float


@dataclass(frozen=True)
class Seen:
    """What the audit log has told of a pool so far.

    Attributes:
        shards: shard -> whether it serves.
        instances: shard -> address ("host:port") of its master and replicas -> whether it answers.
        sentinels: address -> whether it answers.
    """

    shards: Mapping[str, bool] = field(default_factory=dict)
    instances: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    sentinels: Mapping[str, bool] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Seen:
        """The reverse of `dataclasses.asdict`."""
        return cls(**kept)


class ObservedStore(Protocol):
    """Written by the process that watches."""

    def end_work(self, work_id: int) -> None:
        """Delete the work, if it is still there."""

    def seen(self, pool: str) -> Seen | None:
        """What was last reported of the pool; None if nothing was yet."""

    def report(self, pool: str, seen: Seen, events: Sequence[NewEvent]) -> None:
        """Log the events, and keep what they have told, in one transaction.

        Nothing happens without the pool; what was kept goes with it.
        """

    def prune_events(self, *, keep: int, since: str, at_most: int = 10_000) -> int:
        """Delete the oldest events, so that the newest `keep` stay at most, and none that was
        logged before the first one at or after `since` (RFC 3339 in UTC).

        Deletes `at_most` events a call, and returns how many went. What stays keeps its order and
        its ids, and no id is ever given out again: an `after` of `events` stays valid.
        """
