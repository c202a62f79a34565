"""What every use case works with: reading, checking and storing a pool."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.errors import RequestRefused, pool_not_found, version_conflict
from metaserver.domain.fence_record import is_lifted, without_fence
from metaserver.domain.planning import ChangePlan
from metaserver.domain.pool_pause import require_not_paused
from metaserver.domain.pool_state import PoolState
from metaserver.domain.resize import begun, resize_of
from metaserver.domain.resize_status import shown
from metaserver.process.clock import rfc3339
from metaserver.process.config import Config
from metaserver.process.identity import process_identity
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.sentinel_group import SentinelGroup
from metaserver.store import Store

log = logging.getLogger("metaserver")


class StatusSource(Protocol):
    """Gives the live status of pools."""

    def status(self, pool: str) -> dict[str, Any]:
        """Return the status of a pool, as docs/api.md shows it."""


@dataclass(frozen=True)
class ServiceContext:
    """The store, the settings and the live status.

    Attributes:
        changed: called after every change; must not raise.
        owner: the `process_identity()` of this process.
        stopping: set when the process stops.
        failovers: ids of the failovers that this process carries out; it finishes them for a
            moment when it stops.
    """

    store: Store
    config: Config
    networks: AllowedNetworks
    monitor: StatusSource
    changed: Callable[[], None]
    owner: str = field(default_factory=process_identity)
    stopping: threading.Event = field(default_factory=threading.Event)
    failovers: set[int] = field(default_factory=set)

    def sentinels(self, addresses: Sequence[str]) -> SentinelGroup:
        """Return the Sentinels at these addresses, as a context manager that disconnects."""
        return SentinelGroup.from_config(self.config, self.networks, addresses)

    def state(self, pool: str, version: int | None = None) -> PoolState:
        """Return the pool's current state.

        Raises:
            RequestRefused: pool-not-found; version-conflict: the pool is not at `version`.
        """
        state = self.store.state(pool)
        if state is None:
            raise pool_not_found(pool)
        if version is not None and version != state.document.version:
            raise version_conflict(pool, version, state.document.version)
        return state

    def key_counts(self, pool: str) -> dict[str, int | None]:
        """Return the keys per shard as last observed; None where the master did not answer."""
        return {
            shard["name"]: (shard["master"] or {}).get("keys")
            for shard in self.monitor.status(pool)["shards"]
        }

    def replace(
        self,
        plan: ChangePlan,
        event: NewEvent,
        masters: Mapping[str, str],
        intents: Sequence[int] = (),
    ) -> PoolDocument:
        """Store the document after a plan that moves no key.

        Raises:
            RequestRefused: version-conflict or pool-not-found: another change was faster.
            StorageError: nothing was changed.
        """
        before, after = plan.before, plan.after
        if before is None or after is None:
            raise ValueError(f"{plan.summary}: not a change of an existing pool")
        kept = after.placement.names
        known = {shard: at for shard, at in masters.items() if shard in kept}
        return self._put(before, after, event, known, intents)

    def begin_resize(
        self,
        plan: ChangePlan,
        event: NewEvent,
        masters: Mapping[str, str],
        intents: Sequence[int] = (),
    ) -> PoolDocument:
        """Store that the resize of a plan begins; the process that leads carries it out.

        Raises:
            RequestRefused, StorageError: as `replace`.
        """
        before, now = plan.before, rfc3339()
        after = begun(plan, event.actor, event.target, masters, tuple(intents), now)
        assert before is not None and plan.after is not None  # or `begun` has raised
        had = before.placement.names
        new = [each for each in plan.after.placement.names if each not in had]
        return self._put(before, after, event, joining=new, carried=intents)

    def _put(
        self,
        before: PoolDocument,
        after: PoolDocument,
        event: NewEvent,
        masters: Mapping[str, str] | None = None,
        intents: Sequence[int] = (),
        joining: Sequence[str] = (),
        carried: Sequence[int] = (),
    ) -> PoolDocument:
        stored = self.store.put_document(
            after,
            before.version,
            event,
            masters=masters,
            intents=intents,
            joining=joining,
            carried=carried,
        )
        if stored is None:
            now = self.state(before.pool).document
            if is_lifted(before, now):  # which is no other operator's change
                after = without_fence(after)
                return self._put(now, after, event, masters, intents, joining, carried)
            self.state(before.pool, before.version)
            self.refuse_during_failover(before.pool)
            raise too_slow(before.pool)
        self.announce(event, before.version, stored.version)
        return stored

    def refuse_during_failover(self, pool: str, shards: Collection[str] | None = None) -> None:
        """Refuse a change that has these shards leave (None: all) while one fails over.

        Raises:
            RequestRefused: failover-in-progress, naming them.
        """
        busy = [
            failover.shard
            for failover in self.store.failovers()
            if failover.pool == pool and (shards is None or failover.shard in shards)
        ]
        if busy:
            raise RequestRefused(
                "failover-in-progress",
                f"Of pool {pool!r}, {', '.join(busy)} is failing over",
                "wait until that is over, and try again",
                shards=busy,
            )

    def announce(self, event: NewEvent, before: int, after: int) -> None:
        """Log a change, and wake those that wait for one."""
        what = " ".join(part for part in (event.action, event.pool, event.target) if part)
        log.info("%s by %s: %s (version %d -> %d)", what, event.actor, event.detail, before, after)
        self.changed()


def too_slow(pool: str) -> RequestRefused:
    """Return the error for a registration that took so long that repair undid it."""
    return RequestRefused(
        "sentinel-failed",
        f"Registering shards of pool {pool!r} took too long, and repair undid it",
        "check the Sentinels and try again",
    )


def refuse_during_resize(document: PoolDocument) -> None:
    """Refuse a change of a pool while a resize of it is under way.

    Raises:
        RequestRefused: resize-in-progress, with what it waits for; pool-paused, as it does not end
            before that does.
    """
    resize = resize_of(document)
    if resize is not None:
        require_not_paused(document)
        raise RequestRefused(
            "resize-in-progress",
            f"Pool {document.pool!r} is being resized: {resize.summary} ({shown(resize)})",
            f"wait until it is over, see GET /v1/pools/{document.pool}/status; or give it up with "
            f"DELETE /v1/pools/{document.pool}/resize",
            resize=resize.summary,
        )


def refuse_during_sweep(plan: ChangePlan, state: PoolState) -> None:
    """Refuse to give slots to a shard while keys from before are still swept off it.

    Refuse everything while the pool is paused, or another resize is under way.

    Raises:
        RequestRefused: resize-in-progress, naming the shards; pool-paused.
    """
    require_not_paused(state.document)
    refuse_during_resize(state.document)
    swept = {sweep.shard for sweep in state.sweeps}
    busy = [shard for shard in plan.gainers if shard in swept]
    if busy:
        raise RequestRefused(
            "resize-in-progress",
            f"{plan.summary} would give slots to {', '.join(busy)}, from which keys of an "
            "earlier resize are still being removed",
            f"wait until the sweeps are gone from GET /v1/pools/{state.document.pool}/status",
            shards=busy,
        )
