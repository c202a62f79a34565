"""The monitor: one observation of every pool each interval, kept as the pool's status.

Where the process leads, a request never waits for an instance: it gets the last observation. Where
it does not, nobody may have asked for long, and it waits for one that is not too old. Each pool is
observed on its own, one observation at a time, so that a pool whose instances hang delays no other.
Changes since the last report (`metaserver.domain.reports`) become events.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import redis

from cachemesh.core.errors import CacheMeshError, PoolNotFoundError
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.pool_state import PoolState
from metaserver.domain.reports import changes
from metaserver.domain.sentinel_view import SentinelView
from metaserver.domain.status import (
    InstanceSample,
    Observation,
    master_address,
    pool_status,
    replica_addresses,
    shard_names,
)
from metaserver.loops.planned_work import PlannedWorkTracker
from metaserver.process.clock import rfc3339
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.instance_sampler import InstanceSampler
from metaserver.redis_io.late_answers import LateAnswers
from metaserver.redis_io.sentinel_group import SentinelGroup
from metaserver.redis_io.sentinel_replies import MonitoredShards
from metaserver.store import StorageError, Store

log = logging.getLogger("metaserver")

_POOLS_AT_ONCE = 1000
"""Observations in progress at once: those of pools whose instances hang must not delay the others.
Each has a thread (under gevent a greenlet), which is only created when none is idle."""

_OLDEST = 10.0
"""Seconds: an older observation is nobody's answer, unless the process leads, and so goes on with
observing. It is longer than an observation takes whose instances hang."""


class Monitor:
    """The live status of every pool.

    The leading process calls `run`, and only there events are recorded. Other processes observe a
    pool when its status is asked for and the last observation is too old.

    Args:
        count_clients: returns the number of live clients of a pool.
    """

    def __init__(
        self,
        store: Store,
        config: Config,
        *,
        networks: AllowedNetworks,
        count_clients: Callable[[str], int],
    ) -> None:
        self._store = store
        self._config = config
        self._count_clients = count_clients
        self._networks = networks
        self._instances: dict[str, InstanceSampler] = {}
        self._sentinels: dict[str, SentinelGroup] = {}
        self._late: dict[str, LateAnswers[MonitoredShards]] = {}
        self._planned_work = PlannedWorkTracker()
        self._reports_to: Store | None = None
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor(_POOLS_AT_ONCE, thread_name_prefix="monitor")
        self._under_way: dict[str, Future[dict[str, Any]]] = {}
        self._last: dict[str, tuple[float, dict[str, Any]]] = {}
        self._seen: dict[str, Observation] = {}
        self._stopping = False

    def status(self, pool: str) -> dict[str, Any]:
        """Return the status document of a pool, as last observed.

        If this version of the pool was not observed yet, the call waits for an observation, for
        about one interval; and to its end if the last one is too old.

        Raises:
            PoolNotFoundError: there is no such pool.
            StorageError: the store does not answer.
        """
        version = self._store.versions().get(pool)
        if version is None:
            self._forget(pool)
            self._store.document(pool)  # raises if it is there and cannot be read
            raise PoolNotFoundError(f"There is no pool {pool!r}")
        end = time.monotonic() + self._config.status_interval + 0.5
        while not self._is_current(pool, version) and time.monotonic() < end:
            under_way = self._begin(pool)
            wait([under_way], end - time.monotonic())
            if under_way.done() and under_way.exception() is not None:
                break
        last = self._last.get(pool)
        if last is None or (self._reports_to is None and _is_too_old(last[0])):
            return self._begin(pool).result()
        return last[1]

    def begin_all_that_age(self) -> None:
        """Begin to observe, side by side, each pool whose status a call would wait for.

        Raises:
            StorageError: the store does not answer.
        """
        for pool, version in self._store.versions().items():
            if not self._is_current(pool, version):
                self._begin(pool)

    def latest(self, pool: str) -> Observation:
        """Return what the status of a pool was last made from. It waits and raises as `status`."""
        self.status(pool)
        seen = self._seen.get(pool)
        if seen is None:
            raise PoolNotFoundError(f"There is no pool {pool!r}")  # any more
        return seen

    def observed(self, pool: str) -> tuple[dict[str, Any], Observation] | None:
        """Return the last status of a pool and what it is made from; ask nobody for it.

        None on a process that does not lead, whose last observation may be of any age.
        """
        last, seen = self._last.get(pool), self._seen.get(pool)
        if self._reports_to is None or last is None or seen is None:
            return None
        return last[1], seen

    def run(self, stop: threading.Event, store: Store | None = None) -> None:
        """Observe every pool each `config.status_interval` seconds until `stop` is set.

        Args:
            store: where changes are recorded; None for the monitor's own.
        """
        # What this process has observed before its term may be of any age.
        self._last = {pool: last for pool, last in self._last.items() if not _is_too_old(last[0])}
        self._reports_to = store or self._store
        try:
            while not stop.is_set():
                began = time.monotonic()
                self._begin_all()
                left = self._config.status_interval - (time.monotonic() - began)
                stop.wait(max(0.05, left))
        finally:
            self._reports_to = None
            wait(list(self._under_way.values()))

    def stop(self, seconds: float) -> None:
        """Wait for observations under way, for so many seconds at most: the process ends next.

        One that is not over by then fails, as an interpreter that ends starts no thread. That is
        not logged.
        """
        self._stopping = True
        with self._lock:
            under_way = list(self._under_way.values())
        wait(under_way, seconds)

    def _is_current(self, pool: str, version: int) -> bool:
        """Return whether the last observation is of this version and, without a loop, recent."""
        last = self._last.get(pool)
        if last is None or last[1]["version"] < version:
            return False
        return (
            self._reports_to is not None
            or time.monotonic() - last[0] < self._config.status_interval
        )

    def _begin_all(self) -> None:
        try:
            pools = list(self._store.versions())
        except StorageError as error:
            log.error("monitor: %s", error)
            return
        for gone in set(self._under_way) - set(pools):
            self._forget(gone)
        for pool in pools:
            self._begin(pool)

    def _begin(self, pool: str) -> Future[dict[str, Any]]:
        """Return the observation of a pool that is in progress, or begin one."""
        with self._lock:
            under_way = self._under_way.get(pool)
            if under_way is None or under_way.done():
                under_way = self._workers.submit(self._observe, pool)
                under_way.add_done_callback(partial(self._log_failure, pool))
                self._under_way[pool] = under_way
            return under_way

    def _log_failure(self, pool: str, observation: Future[dict[str, Any]]) -> None:
        error = observation.exception()
        if self._stopping or error is None:
            return
        if isinstance(error, (CacheMeshError, redis.RedisError)):
            log.error("monitor: pool %s: %s", pool, error)
        else:
            log.error("monitor: pool %s is observed again", pool, exc_info=error)

    def _observe(self, pool: str) -> dict[str, Any]:
        state = self._store.state(pool)
        if state is None:
            raise PoolNotFoundError(f"There is no pool {pool!r}")
        seen = self._observation(state)
        status = pool_status(seen)
        self._seen[state.document.pool] = seen
        self._last[state.document.pool] = (time.monotonic(), status)
        if (store := self._reports_to) is not None:
            _report(store, seen, status)
        return status

    def _observation(self, state: PoolState) -> Observation:
        """Ask the Sentinels, then the instances they name, then the replicas those name."""
        document = state.document
        names = shard_names(state)
        work = self._planned_work.of_pool(state, self._live(state))
        instances = self._instances_of(document.pool)
        sentinels = self._sentinels_of(document.pool, document.sentinels)
        views = sentinels.views(names, self._late[document.pool])
        samples: dict[str, InstanceSample] = {}
        while True:
            wanted = _addresses(names, state, views, samples) - set(samples)
            if not wanted:
                break
            samples.update(instances.sample(wanted))
        instances.keep_only(samples)
        # Work that began or ended during the observation explains its findings too.
        after = self._store.state(document.pool)
        work |= {} if after is None else self._planned_work.of_pool(after, self._live(after))
        return Observation(
            at=rfc3339(),
            state=state,
            views=views,
            samples=samples,
            earlier=instances.earlier(samples),
            clients=self._count_clients(document.pool),
            work=work,
            observer=self._config.observe is not None,
        )

    def _live(self, state: PoolState) -> list[str]:
        """Return the processes that may carry a failover of the pool out."""
        return [each.owner for each in self._store.metaservers()] if state.failovers else []

    def _sentinels_of(self, pool: str, addresses: tuple[str, ...]) -> SentinelGroup:
        sentinels = self._sentinels.get(pool)
        if sentinels is None or sentinels.addresses != addresses:
            networks = self._instances_of(pool).networks
            if pool in self._late:
                self._late.pop(pool).close()
            self._late[pool] = LateAnswers()
            sentinels = self._sentinels[pool] = SentinelGroup.from_config(
                self._config, networks, addresses
            )
        return sentinels

    def _instances_of(self, pool: str) -> InstanceSampler:
        instances = self._instances.get(pool)
        if instances is None:
            # Host names that one pool's instances name must not delay the look-ups of others.
            instances = self._instances[pool] = InstanceSampler(
                self._config, self._networks.apart()
            )
        return instances

    def _forget(self, pool: str) -> None:
        """Forget a deleted pool, once no observation of it is in progress."""
        with self._lock:
            under_way = self._under_way.get(pool)
            if under_way is None or not under_way.done():
                return
            del self._under_way[pool]
        self._last.pop(pool, None)
        self._seen.pop(pool, None)
        self._planned_work.forget(pool)
        late, sentinels = self._late.pop(pool, None), self._sentinels.pop(pool, None)
        for kept in (late, sentinels, self._instances.pop(pool, None)):
            if kept is not None:
                kept.close()


def _report(store: Store, seen: Observation, status: Mapping[str, Any]) -> None:
    """Record the changes since the last report, once, and end work that is over.

    A shard with a planned failover gets the event of that, and no other.
    """
    state = seen.state
    pool = state.document.pool
    busy = {each.shard for each in store.failovers() if each.pool == pool}
    busy |= {shard for shard, work in seen.work.items() if work.kind == "failing over"}
    for shard in status["shards"]:
        if shard["state"] != "draining" and shard["name"] not in busy:
            _report_unplanned_failover(store, state, shard)
    before = store.reported_state(pool)
    after, events = changes(before, status, busy)
    if after != before:
        store.report(pool, after, events)
    well = {shard["name"] for shard in status["shards"] if shard["state"] == "up"}
    for name, work in state.work.items():
        if name not in state.failovers and (name in well or name not in seen.work):
            store.end_work(work.id)


def _report_unplanned_failover(store: Store, state: PoolState, shard: Mapping[str, Any]) -> None:
    pool, name, now = state.document.pool, shard["name"], shard["master"]["address"]
    before = state.masters.get(name)
    if now is None or now == before or before != store.last_master(pool, name):
        return  # the last: a planned failover has just stored another master
    if before is not None:
        store.record_event(
            NewEvent(
                "failover",
                pool=pool,
                target=name,
                detail=f"{now} is master of {name} in place of {before}",
                before={"master": before},
                after={"master": now},
            )
        )
    store.remember_master(pool, name, now)


def _is_too_old(at: float) -> bool:
    return time.monotonic() - at > _OLDEST


def _addresses(
    names: tuple[str, ...],
    state: PoolState,
    views: Mapping[str, SentinelView],
    samples: Mapping[str, InstanceSample],
) -> set[str]:
    """Return the addresses of every master, and of every replica known so far."""
    found: set[str] = set()
    for name in names:
        master = master_address(name, state, views)
        found.update(replica_addresses(name, master, views, samples.get(master or "")))
        if master is not None:
            found.add(master)
    return found
