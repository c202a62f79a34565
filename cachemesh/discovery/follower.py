"""Keeping a topology current while the app runs.

load --> topology --> watch thread    new pool documents from the source
                  --> listen thread   +switch-master from Sentinel, for speed
                  --> poll thread     all masters every poll_interval, as the truth
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import redis

from cachemesh.core.errors import CacheMeshError
from cachemesh.core.names import Address
from cachemesh.core.settings import setting_value
from cachemesh.core.topology import Topology
from cachemesh.discovery.sentinel import SentinelOptions, Sentinels
from cachemesh.discovery.source import Source
from cachemesh.discovery.stop import Stop

logger = logging.getLogger("cachemesh.discovery")

_RETRY_FIRST, _RETRY_MOST = 0.2, 5.0
_LOOK_AGAIN_SPACING = 0.1
_NO_FAILURE: tuple[float, Exception | None] = float("-inf"), None


class Follower:
    """Holds the topology of one pool and keeps it current from daemon threads.

    Args:
        source: where pool documents come from.
        sentinel_options: how to connect to the Sentinels that the document names.
        on_change: called with each new topology, from any thread, one call at a time.
    """

    def __init__(
        self,
        source: Source,
        sentinel_options: SentinelOptions,
        on_change: Callable[[Topology], None],
    ) -> None:
        self._source = source
        self._options = sentinel_options
        self._on_change = on_change
        self.forget()

    def forget(self) -> None:
        """Start over; in a forked child, where locks and threads are the parent's."""
        self._lock = threading.RLock()
        self._look_lock = threading.Lock()
        self._looked_at = float("-inf")
        self._stop = Stop()
        self._sentinels: Sentinels | None = None
        self._topology: Topology | None = None
        self._failed = _NO_FAILURE

    def topology(self) -> Topology:
        """The topology of now; the first call loads it and starts the threads.

        Raises:
            CacheMeshError, redis.ConnectionError: it cannot be loaded; see `Source.load`.
        """
        topology = self._topology
        return topology if topology is not None else self._start(time.monotonic())

    def tell(self, listener: Callable[[Topology], None]) -> Topology:
        """Call ``listener`` with the topology of now, while no other change can come between.

        Raises: as `topology`.
        """
        asked_at = time.monotonic()
        with self._lock:
            topology = self._topology
            if topology is None:
                topology = self._start(asked_at)
            listener(topology)
            return topology

    def close(self, leave: bool = True) -> None:
        """Stop following. A later `topology` starts again.

        Args:
            leave: tell the source, which may take half a second.
        """
        self._stop.set()
        with self._lock:
            self._stop = Stop()
            topology, self._topology = self._topology, None
        if leave and topology is not None:
            self._source.leave()

    def look_again(self, shard: str, seen: Address | None) -> Address | None:
        """Ask Sentinel for one master now, because the one ``seen`` did not serve.

        Threads that ask at the same time share one look-up; look-ups keep a distance of 0.1 s.

        Returns:
            The address now known, which may be ``seen`` again; None if nobody knows one.

        Raises:
            SentinelUnavailableError: none of the Sentinels answers.
        """
        asked_at = time.monotonic()
        with self._look_lock:
            known = self.topology().masters.get(shard)
            if known != seen or self._looked_at >= asked_at - _LOOK_AGAIN_SPACING:
                return known
            sentinels = self._sentinels
            if sentinels is not None:
                try:
                    found = sentinels.masters([shard])
                finally:
                    self._looked_at = time.monotonic()
                self._apply(lambda topology: topology.with_masters(found))
            return self.topology().masters.get(shard)

    def _start(self, asked_at: float) -> Topology:
        with self._lock:
            if self._topology is not None:
                return self._topology
            failed_at, failure = self._failed
            if failure is not None and failed_at >= asked_at:
                raise failure  # of the attempt this thread has waited for
            try:
                topology = self._load()
            except (CacheMeshError, redis.RedisError, OSError) as error:
                self._failed = time.monotonic(), error
                raise
            self._failed = _NO_FAILURE
            self._on_change(topology)
            self._topology = topology
            for name, body in (("watch", self._watch), ("poll", self._poll), ("hear", self._hear)):
                threading.Thread(
                    target=body, args=(self._stop,), name=f"cachemesh-{name}", daemon=True
                ).start()
            return topology

    def _load(self) -> Topology:
        document = self._source.load()
        self._sentinels = Sentinels(document.sentinels, self._options)
        return Topology(document, self._sentinels.masters(document.placement.names))

    def _apply(self, change: Callable[[Topology], Topology]) -> None:
        with self._lock:
            before = self._topology
            if before is None:
                return
            after = change(before)
            if after is not before:
                self._on_change(after)
                self._topology = after

    def _watch(self, stop: Stop) -> None:
        def step() -> None:
            topology = self._topology
            if topology is None:
                return
            document = self._source.wait(topology.document.version, stop)
            if document is None or stop.is_set():
                return
            if document.sentinels != topology.document.sentinels:
                self._sentinels = Sentinels(document.sentinels, self._options)
            sentinels = self._sentinels
            new = set(document.placement.names) - set(topology.masters)
            found = sentinels.masters(sorted(new)) if sentinels and new else {}
            self._apply(lambda before: before.with_document(document).with_masters(found))
            logger.info("pool %s: version %d applied", document.pool, document.version)

        self._repeat(step, stop, lambda: 0.0)

    def _poll(self, stop: Stop) -> None:
        def step() -> None:
            topology, sentinels = self._topology, self._sentinels
            if topology is not None and sentinels is not None:
                found = sentinels.masters(topology.document.placement.names)
                self._apply(lambda before: before.with_masters(found))

        stop.wait(self._setting("poll_interval"))
        self._repeat(step, stop, lambda: self._setting("poll_interval"))

    def _hear(self, stop: Stop) -> None:
        def on_switch(shard: str, master: Address) -> None:
            self._apply(lambda before: before.with_masters({shard: master}))

        def step() -> None:
            sentinels = self._sentinels
            if sentinels is not None:
                sentinels.listen(on_switch, stop)

        self._repeat(step, stop, lambda: _RETRY_FIRST)

    def _repeat(self, step: Callable[[], None], stop: Stop, pause: Callable[[], float]) -> None:
        """Do ``step`` until ``stop``; after a failure wait, longer each time, and go on."""
        delay = _RETRY_FIRST
        while not stop.is_set():
            try:
                step()
            except (CacheMeshError, redis.RedisError, OSError) as error:
                if stop.is_set():
                    return
                logger.warning("%s: %s", threading.current_thread().name, error)
                stop.wait(delay * random.uniform(0.5, 1.0))
                delay = min(delay * 2, _RETRY_MOST)
            else:
                delay = _RETRY_FIRST
                stop.wait(pause())

    def _setting(self, name: str) -> float:
        topology = self._topology
        settings: dict[str, Any] = {} if topology is None else dict(topology.document.settings)
        return setting_value(settings, name)
