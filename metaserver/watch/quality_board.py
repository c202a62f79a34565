"""What the clients of a pool feel, as watch calls report it, to this process or to another one.

    watch call --> PoolQuality --exchange()--> store <-- what other processes have published
                        ^---------------------------------+

A process that is alone on its store publishes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from cachemesh.core.quality.report import ShardQuality
from metaserver.domain.published_quality import PublishedQuality
from metaserver.domain.quality import PoolQuality, QualitySum
from metaserver.process.identity import process_identity
from metaserver.store import Metaserver, StorageError, Store

EVERY = 5.0
"""Seconds between two exchanges with other processes."""

_SIGN_OF_LIFE = 2 * EVERY  # seconds between two publications without a change
_SILENT = 4 * EVERY  # seconds without a sign of life from a process
_SHARDS, _CLIENTS = 500, 100  # that a process tells others of, over all pools

log = logging.getLogger("metaserver")


class QualityBoard:
    """The quality of each pool; greenlets may share the board.

    Args:
        store: through which processes tell each other.
        lease: seconds for which a client counts after a watch call.
        owner: the `process_identity()` of this process.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        lease: float = 30.0,
        *,
        owner: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._lease = lease
        self._owner = owner or process_identity()
        self._clock = clock
        self._began = clock()
        self._pools: dict[str, PoolQuality] = {}
        self._others: tuple[Metaserver, ...] = ()
        self._heard: dict[str, tuple[object, float]] = {}  # owner -> sign of life, and since when
        self._published: tuple[float, dict[str, Any]] | None = None

    def _pool(self, pool: str) -> PoolQuality:
        found = self._pools.get(pool)
        if found is None:
            found = self._pools[pool] = PoolQuality(self._began, self._lease)
        return found

    def add(
        self, pool: str, client: str, report: Mapping[str, ShardQuality], shards: Collection[str]
    ) -> None:
        """Add a client's report.

        Args:
            pool: one that exists.
            client: its id.
            report: by shard.
            shards: those of the pool.
        """
        self._pool(pool).add(self._clock(), client, report, shards)

    def shown(self, pool: str, seconds: int) -> dict[str, Any]:
        """Return what was felt of a pool in the last seconds, as docs/api.md shows it."""
        now = self._clock()
        silent = [
            each.address
            for each in self._others
            if now - self._heard.get(each.owner, (None, now))[1] > _SILENT
        ]
        return {
            "pool": pool,
            **self._pool(pool).to_dict(now, time.time() - now, seconds),
            "silent": sorted(silent),
        }

    def between(self, pool: str, begin: int, end: int) -> Mapping[str, QualitySum]:
        """Return what was felt of each shard of a pool between two whole seconds of the clock."""
        found = self._pools.get(pool)
        return {} if found is None else found.between(begin, end)

    def totals(self, pool: str, shards: Collection[str]) -> Mapping[str, QualitySum]:
        """Return what clients of this process felt of each shard of a pool since it started."""
        found = self._pools.get(pool)
        if found is None:
            return {}
        found.forget(shards)
        return found.totals

    def forget_all_but(self, pools: Collection[str]) -> None:
        """Forget pools that are no more."""
        for pool in [each for each in self._pools if each not in pools]:
            del self._pools[pool]

    def exchange_until(self, stop: threading.Event) -> None:
        """Exchange with other processes until `stop` is set. The body of a thread."""
        failing = False
        while not stop.is_set():
            try:
                self.exchange()
                failing = False
            except StorageError as error:
                if not failing:
                    log.warning("exchanging what apps feel: %s", error)
                failing = True
            stop.wait(EVERY)

    def exchange(self) -> None:
        """Publish what this process has counted, and take over what others have.

        Raises:
            StorageError: the store cannot be read or written; the next call tries again.
        """
        alive = self._store.metaservers()
        self._others = tuple(each for each in alive if each.owner != self._owner)
        owners = {each.owner for each in self._others}
        if owners:
            self._publish(owners)
            documents = {each.pool: each.placement.names for each in self._store.documents()}
            published = self._store.published_quality()
            for owner in owners:
                found = published.get(owner, {})
                sign = found.get("at")
                if sign != self._heard.get(owner, (None, 0.0))[0]:
                    self._take_over(owner, found.get("pools"), documents)
                elif owner in self._heard:
                    continue
                self._heard[owner] = sign, self._clock()
        self._heard = {owner: sign for owner, sign in self._heard.items() if owner in owners}
        for quality in self._pools.values():
            for owner in quality.elsewhere.keys() - owners:
                del quality.elsewhere[owner]

    def _publish(self, others: Collection[str]) -> None:
        """Publish what has changed, or a sign of life."""
        now, names = self._clock(), sorted(self._pools)
        of_each = [max(1, most // max(1, len(names))) for most in (_SHARDS, _CLIENTS)]
        told = {name: self._pools[name].published(now, *of_each).to_json() for name in names}
        last = self._published
        if last is None or last[1] != told or now - last[0] >= _SIGN_OF_LIFE:
            self._store.publish_quality(
                self._owner, {"at": time.time(), "pools": told}, alive=others
            )
            self._published = now, told

    def _take_over(
        self, owner: str, published: object, shards: Mapping[str, Collection[str]]
    ) -> None:
        pools = published if isinstance(published, dict) else {}
        for pool, names in shards.items():
            try:
                found = PublishedQuality.from_json(pools[pool]) if pool in pools else None
            except ValueError as error:
                log.warning("what %s has published of pool %s: %s", owner, pool, error)
                continue
            if found is not None:
                self._pool(pool).take_over(self._clock(), owner, found, names)
            else:  # none of its clients has reported yet: what comes next is new
                self._pool(pool).elsewhere[owner] = PublishedQuality()
