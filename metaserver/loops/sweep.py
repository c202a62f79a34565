"""Sweeps: removing the keys that a shard no longer owns.

    waiting --(every live client acts on the new version, or the grace is over)--> running --> done
    running --(its master does not answer for long)--> failed --(it answers)--> running
    failed  --(of a drained shard: an operator says so, or `abandon` is over)--> given up

While the pool is paused none goes on: one that runs ends after the batch that is under way.
All progress is in the store: a sweep that was cut off anywhere starts again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import redis

from cachemesh.core.errors import CacheMeshError
from cachemesh.core.names import parse_address
from cachemesh.core.placement import Placement
from cachemesh.core.plurals import counted
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.pool_pause import is_paused
from metaserver.domain.pool_state import PoolState, Sweep
from metaserver.loops.instance_sweep import InstanceSweep
from metaserver.loops.keyed_workers import KeyedWorkers
from metaserver.process.clock import ElapsedTimes
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import BoundedConnection, reason_of
from metaserver.redis_io.client_list import LISTED
from metaserver.redis_io.resp import LARGE
from metaserver.redis_io.sentinel_group import SentinelGroup
from metaserver.redis_io.shard_masters import NotShardMasterError
from metaserver.redis_io.term_fence import TermFence
from metaserver.service.forgetting import end_drained, forget_shard
from metaserver.store import StorageError, Store

log = logging.getLogger("metaserver")

_AT_ONCE = 8  # sweeps
_PROGRESS_EVERY = 0.5  # seconds between two updates of the progress in the store


class Acknowledgements(Protocol):
    """Tells which version the clients act on."""

    def all_acknowledged(self, pool: str, version: int) -> bool:
        """Return whether every live client of the pool acts on `version` or a later one."""


class SweepCancelled(Exception):
    """The sweep was replaced by a later one, its pool deleted or paused, or the process stops."""


@dataclass
class _Backoff:
    """A sweep that makes no progress.

    Attributes:
        since: when it failed first, in monotonic seconds.
        times: the number of failures.
        again: when to try again, in monotonic seconds.
    """

    since: float
    times: int
    again: float


class Sweeper:
    """Carries out every unfinished sweep.

    Args:
        grace: seconds to wait for clients to acknowledge the new version.
        give_up: seconds without progress after which a sweep counts as failed.
        retry_slowly: seconds between two attempts of a failed sweep.
        abandon: seconds after which the sweep of a drained shard is given up.
        clock: returns monotonic seconds.
        epoch: the number of the term in which it sweeps, on a store fenced by it.
    """

    def __init__(
        self,
        store: Store,
        config: Config,
        clients: Acknowledgements,
        *,
        networks: AllowedNetworks,
        epoch: int = 0,
        grace: float = 10.0,
        give_up: float = 30.0,
        retry_slowly: float = 30.0,
        abandon: float = 24 * 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._config = config
        self._clients = clients
        self._networks = networks
        self._epoch = epoch
        self._grace = grace
        self._give_up = give_up
        self._retry_slowly = retry_slowly
        self._abandon = abandon
        self._clock = clock
        self._waiting = ElapsedTimes(clock)
        self._backoffs: dict[int, _Backoff] = {}

    def run(self, stop: threading.Event) -> None:
        """Look for sweeps each `config.sweep_interval` seconds until `stop` is set."""
        with KeyedWorkers("sweep", _AT_ONCE) as workers:
            while not stop.is_set():
                due = self._due()
                workers.begin({_what(each): partial(self._work, each, stop) for each in due})
                stop.wait(self._config.sweep_interval)

    def _due(self) -> list[Sweep]:
        try:
            paused = {each.pool for each in self._store.documents() if is_paused(each)}
            sweeps = [each for each in self._store.sweeps() if each.pool not in paused]
        except StorageError as error:
            log.error("sweep: %s", error)
            return []
        ids = {sweep.id for sweep in sweeps}
        self._backoffs = {key: value for key, value in self._backoffs.items() if key in ids}
        self._waiting.keep(ids)
        for sweep in sweeps:
            self._waiting.since_first(sweep.id)  # also of sweeps that no worker is free for
        now = self._clock()
        waiting = {key for key, backoff in self._backoffs.items() if backoff.again > now}
        return [sweep for sweep in sweeps if sweep.id not in waiting]

    def _work(self, sweep: Sweep, stop: threading.Event) -> None:
        """Attempt one sweep; a failure is recorded, and the sweep tried again later."""
        try:
            if self._may_start(sweep):
                self._sweep(sweep, stop)
                self._backoffs.pop(sweep.id, None)
        except SweepCancelled:
            log.info("sweep of %s in pool %s: stopped", sweep.shard, sweep.pool)
        except (redis.RedisError, CacheMeshError) as error:
            self._back_off(sweep, error)

    def _may_start(self, sweep: Sweep) -> bool:
        """Return whether no live client can still write by the old placement."""
        if sweep.state != "waiting":
            return True
        return self._waiting.since_first(sweep.id) >= self._grace or self._clients.all_acknowledged(
            sweep.pool, sweep.version
        )

    def _sweep(self, sweep: Sweep, stop: threading.Event) -> None:
        progress = _Progress(self._store, sweep, stop)
        state = progress.state()
        with self._sentinels(state.document.sentinels) as sentinels:
            known = state.masters.get(sweep.shard) or sweep.master
            master = sentinels.master_of(sweep.shard) or (known if sweep.drained else None)
            if master is None:
                raise NotShardMasterError("most of the Sentinels name no master")
            timeout = self._config.instance_timeout
            # By IP address: a name must not lead to another instance halfway.
            target = self._networks.check(master, timeout=timeout)
            fence = TermFence(self._epoch, progress.begin)
            auth, networks = self._config.redis_auth, self._networks
            host = parse_address(master).host
            connection = BoundedConnection(
                target, networks, auth, timeout, LARGE, fence.enter, certified=host
            )
            try:
                self._shut_out(fence, target, host)
                InstanceSweep(connection, sweep.shard, progress.placement, progress.removed).run()
            except NotShardMasterError:
                raise
            except redis.RedisError as error:
                raise redis.RedisError(f"{master}: {reason_of(error)}") from error
            finally:
                connection.close()
                progress.save()
            if (sentinels.master_of(sweep.shard) or master) != master:
                raise NotShardMasterError(f"{master} was replaced as master meanwhile")
        progress.state()  # a pool that was paused meanwhile keeps its sweep
        self._finish(sweep, state, master, progress.total)

    def _shut_out(self, fence: TermFence, target: str, host: str) -> None:
        """Kill the connections of sweeps of earlier terms, which may be about to remove keys."""
        auth, timeout = self._config.redis_auth, self._config.instance_timeout
        connection = BoundedConnection(
            target, self._networks, auth, timeout, LISTED, certified=host
        )
        try:
            killed = fence.shut_out(connection)
        finally:
            connection.close()
        if killed:
            log.warning("sweep at %s: shut out %s", target, counted(killed, "earlier sweep"))

    def _finish(self, sweep: Sweep, state: PoolState, master: str, removed: int) -> None:
        """Finish a sweep that has removed every key."""
        event = NewEvent(
            "sweep.done",
            pool=sweep.pool,
            target=sweep.shard,
            detail=f"removed {counted(removed, 'key')} that {sweep.shard} no longer owns "
            f"from {master}",
        )
        self._end(sweep, state, master, event)

    def _end(self, sweep: Sweep, state: PoolState, master: str, event: NewEvent) -> None:
        """Delete the sweep and log the event; have the Sentinels forget a drained shard."""
        if not sweep.drained:
            self._store.finish_sweep(sweep.id, event)
            return
        intent = end_drained(self._store, sweep, master, state.document.sentinels, event)
        if intent is not None:
            with self._sentinels(intent.sentinels) as sentinels:
                forget_shard(self._store, sentinels, intent)

    def _give_up_for_good(self, sweep: Sweep, reason: str) -> None:
        state = self._store.state(sweep.pool)
        if state is None:
            return
        detail = (
            f"{reason}, for {self._abandon / 3600:g} h; it is no longer waited for, and what it "
            "holds remains there: empty it before it is used again"
        )
        event = NewEvent("sweep.given-up", pool=sweep.pool, target=sweep.shard, detail=detail)
        log.warning("sweep of %s in pool %s: %s", sweep.shard, sweep.pool, detail)
        self._end(sweep, state, sweep.master or "", event)

    def _back_off(self, sweep: Sweep, error: redis.RedisError | CacheMeshError) -> None:
        """Record a failure and when to try again: soon at first, slowly after `give_up`."""
        now = self._clock()
        backoff = self._backoffs.setdefault(sweep.id, _Backoff(since=now, times=0, again=now))
        backoff.times += 1
        failed = now - backoff.since >= self._give_up
        backoff.again = now + (self._retry_slowly if failed else min(5.0, 0.25 * 2**backoff.times))
        reason = str(error)
        log.warning("sweep of %s in pool %s: %s", sweep.shard, sweep.pool, reason)
        detail = f"{reason}; keys that {sweep.shard} no longer owns may remain there"
        if sweep.drained:
            detail += ", and the Sentinels still monitor it"
        if sweep.drained and failed:
            detail += f"; if it never comes back: cachemesh shard forget {sweep.shard}"
        try:
            if sweep.drained and failed and time.time() - sweep.created >= self._abandon:
                self._give_up_for_good(sweep, reason)
                return
            first = failed and sweep.state != "failed"
            kept = self._store.update_sweep(
                sweep.id, state="failed" if failed else None, detail=detail
            )
            if kept and first:
                self._store.record_event(
                    NewEvent("sweep.failed", pool=sweep.pool, target=sweep.shard, detail=detail)
                )
        except CacheMeshError as failure:
            log.error("sweep of %s in pool %s: %s", sweep.shard, sweep.pool, failure)

    def _sentinels(self, addresses: Sequence[str]) -> SentinelGroup:
        return SentinelGroup.from_config(self._config, self._networks, addresses)


def _what(sweep: Sweep) -> str:
    return f"{sweep.shard} in pool {sweep.pool} ({sweep.id})"


class _Progress:
    """What a sweep in progress reads from the store and writes there."""

    def __init__(self, store: Store, sweep: Sweep, stop: threading.Event) -> None:
        self._store = store
        self._sweep = sweep
        self._stop = stop
        self._marker: Hashable = None
        self._placement: Placement | None = None
        self._saved_at = time.monotonic()
        self.total = sweep.removed

    def begin(self) -> None:
        """Store that the sweep runs: the instance has answered.

        Raises:
            SweepCancelled: this sweep is gone.
            LostLeadError: the term is over.
        """
        if not self._store.update_sweep(self._sweep.id, state="running", detail=""):
            raise SweepCancelled

    def state(self) -> PoolState:
        """Return the pool; raise SweepCancelled if it is paused, or this sweep no longer in it."""
        state = self._store.state(self._sweep.pool)
        if state is None or all(sweep.id != self._sweep.id for sweep in state.sweeps):
            raise SweepCancelled
        if is_paused(state.document):
            raise SweepCancelled
        return state

    def placement(self) -> Placement:
        """Return the current placement; raise SweepCancelled, also when the process stops."""
        if self._stop.is_set():
            raise SweepCancelled
        marker = self._store.change_marker()
        if self._placement is None or marker != self._marker:
            self._placement = self.state().document.placement
            self._marker = marker
        return self._placement

    def removed(self, count: int) -> None:
        """Count removed keys, and save the count every half second."""
        self.total += count
        if time.monotonic() - self._saved_at >= _PROGRESS_EVERY:
            self.save()

    def save(self) -> None:
        """Write the count to the store."""
        self._store.update_sweep(self._sweep.id, removed=self.total)
        self._saved_at = time.monotonic()
