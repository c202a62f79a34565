"""What every use case works with, and how it reads, checks and stores a pool."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from cachemesh.core.placement import SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.errors import Problem, pool_not_found, version_conflict
from metaserver.domain.planning import Plan, keys_moved, moves_as_dicts, what_is_lost
from metaserver.loops.leader_election import process_identity
from metaserver.process.config import Config
from metaserver.redis_io.admission import AllowedNetworks
from metaserver.redis_io.sentinels import Sentinels
from metaserver.store import NewEvent, NewSweep, PoolState, Store

log = logging.getLogger("metaserver")


class StatusSource(Protocol):
    """Where the live view of a pool comes from."""

    def status(self, pool: str) -> dict[str, Any]:
        """The status of a pool, as docs/api.md shows it."""


@dataclass(frozen=True)
class Control:
    """The store, the settings and the live view.

    `changed`, which must not raise, is called after every change; `failovers` are those that this
    process is at, and that it goes on with for a moment when it is `stopping`.
    """

    store: Store
    config: Config
    networks: AllowedNetworks
    monitor: StatusSource
    changed: Callable[[], None]
    owner: str = field(default_factory=process_identity)
    stopping: threading.Event = field(default_factory=threading.Event)
    failovers: set[int] = field(default_factory=set)

    def sentinels(self, addresses: Sequence[str]) -> Sentinels:
        """The Sentinels at these addresses; to be used in a `with`, which closes them."""
        return Sentinels.of(self.config, self.networks, addresses)

    def state(self, pool: str, version: int | None = None) -> PoolState:
        """The pool as it is now.

        Raises:
            Problem: pool-not-found; version-conflict if it is not at `version`.
        """
        state = self.store.state(pool)
        if state is None:
            raise pool_not_found(pool)
        if version is not None and version != state.document.version:
            raise version_conflict(pool, version, state.document.version)
        return state

    def key_counts(self, pool: str) -> dict[str, int | None]:
        """Keys per shard as last observed; None where the master did not answer."""
        return {
            shard["name"]: (shard["master"] or {}).get("keys")
            for shard in self.monitor.status(pool)["shards"]
        }

    def replace(
        self, plan: Plan, event: NewEvent, masters: Mapping[str, str], intents: Sequence[int] = ()
    ) -> PoolDocument:
        """Store the document after the plan, with a sweep for each shard that loses slots.

        Raises:
            Problem: version-conflict or pool-not-found, if somebody was faster.
            StorageError: nothing was changed.
        """
        before, after = plan.before, plan.after
        if before is None or after is None:
            raise ValueError(f"{plan.summary}: not a change of an existing pool")
        kept = after.placement.names
        sweeps = [
            NewSweep(shard, masters.get(shard), drained=shard not in kept) for shard in plan.losers
        ]
        stored = self.store.put_document(
            after,
            before.version,
            event,
            sweeps=sweeps,
            masters={shard: at for shard, at in masters.items() if shard in kept},
            intents=intents,
        )
        if stored is None:
            self.state(before.pool, before.version)
            self.refuse_during_failover(before.pool)
            raise too_slow(before.pool)
        self.note(event, before.version, stored.version)
        return stored

    def refuse_during_failover(self, pool: str, shards: Collection[str] | None = None) -> None:
        """A shard does not leave while it fails over; None: no shard of the pool may.

        Raises:
            Problem: failover-in-progress, naming them.
        """
        busy = [
            failover.shard
            for failover in self.store.failovers()
            if failover.pool == pool and (shards is None or failover.shard in shards)
        ]
        if busy:
            raise Problem(
                "failover-in-progress",
                f"Of pool {pool!r}, {', '.join(busy)} is failing over",
                "wait until that is over, and try again",
                shards=busy,
            )

    def note(self, event: NewEvent, before: int, after: int) -> None:
        """Tell whoever waits for a change, and write one line about it."""
        what = " ".join(part for part in (event.action, event.pool, event.target) if part)
        log.info("%s by %s: %s (version %d -> %d)", what, event.actor, event.detail, before, after)
        self.changed()


@dataclass(frozen=True)
class Change:
    """What a change did, or with `dry_run` would do; `after` is None after a delete."""

    plan: Plan
    dry_run: bool
    pool: str
    version_before: int
    version_after: int
    after: PoolDocument | None
    steps: Sequence[str]
    keys: Mapping[str, int | None]
    warnings: Sequence[str] = ()

    def replace(self, **changes: Any) -> Change:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The change as docs/api.md shows it."""
        return {
            "dry_run": self.dry_run,
            "pool": self.pool,
            "version_before": self.version_before,
            "version_after": self.version_after,
            "summary": self.plan.summary,
            "steps": list(self.steps),
            "moves": moves_as_dicts(self.plan.moves.by_pair),
            "moved_slots": self.plan.moves.slots,
            "moved_share": self.plan.moves.share,
            "keys_moved": keys_moved(self.plan, self.keys),
            "destroys": what_is_lost(self.plan, self.keys),
            "warnings": list(self.warnings),
            "document": None if self.after is None else self.after.to_dict(),
        }


def too_slow(pool: str) -> Problem:
    """502 for a registration that repair took for an abandoned one."""
    return Problem(
        "sentinel-failed",
        f"Registering shards of pool {pool!r} took too long, and repair undid it",
        "check the Sentinels and try again",
    )


def refuse_during_sweep(plan: Plan, state: PoolState) -> None:
    """A shard gets no slots back while keys from before are still being swept off it.

    Raises:
        Problem: resize-in-progress, naming the shards.
    """
    swept = {sweep.shard for sweep in state.sweeps}
    busy = [shard for shard in plan.gainers if shard in swept]
    if busy:
        raise Problem(
            "resize-in-progress",
            f"{plan.summary} would give slots to {', '.join(busy)}, from which keys of an "
            "earlier resize are still being removed",
            f"wait until the sweeps are gone from GET /v1/pools/{state.document.pool}/status",
            shards=busy,
        )


def outline(document: PoolDocument) -> dict[str, object]:
    """A pool in short, for the audit log."""
    placement = document.placement
    counts = placement.slot_counts() if isinstance(placement, SlotsPlacement) else {}
    return {
        "version": document.version,
        "shards": [
            {"name": shard.name, "weight": shard.weight, "slots": counts.get(shard.name)}
            for shard in placement.shards
        ],
    }
