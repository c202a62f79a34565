"""The follower keeps the topology of a pool current while the app runs.

All clients of a pool in a process share one follower, which has these threads, and for as long as a
lease is over another that asks for it:

watch   waits for another document from the source
hear    receives events of failovers from all Sentinels, to lose no time
poll    looks up all masters every poll_interval, and sooner if a master does not serve
keep    stores the topology, for processes that start while nobody answers

The first three change the topology; the watch and the hear thread deliver each change to clients.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import redis

from cachemesh.core.errors import CacheMeshError, SentinelUnavailableError
from cachemesh.core.names import Address
from cachemesh.core.policy import told_settings
from cachemesh.core.pool.settings import setting_value
from cachemesh.core.pool.topology import Topology
from cachemesh.core.pool.topology_health import TopologyHealth
from cachemesh.core.quality.report import ShardQuality, merged
from cachemesh.discovery.control_plane import ControlPlane
from cachemesh.discovery.document_watch import DocumentWatch
from cachemesh.discovery.first_load import TopologyLoader
from cachemesh.discovery.lookups import MasterLookups
from cachemesh.discovery.sentinel import LookupResult
from cachemesh.discovery.sentinel_connection import SentinelOptions
from cachemesh.discovery.sentinel_events import (
    CandidateSelected,
    EventsMissed,
    MasterSwitched,
    SentinelEvents,
)
from cachemesh.discovery.snapshot import SnapshotFile
from cachemesh.discovery.snapshot_keeper import SnapshotKeeper
from cachemesh.discovery.source import LeasedSource, Source
from cachemesh.discovery.topology_state import TopologyState
from cachemesh.discovery.wakeup import StopEvent, Wakeup

logger = logging.getLogger("cachemesh.discovery")

_NO_FAILURE: tuple[float, Exception | None] = float("-inf"), None


class TopologySubscriber(Protocol):
    """An object that the follower tells of changes: `cachemesh.discovery.membership.Membership`."""

    own_settings: Mapping[str, object]  # those of the pool that it overrides

    def drained(self) -> bool:
        """Return whether nothing is under way that was routed by an earlier topology and holds up
        the present one. Any thread may call this; never raises.
        """

    def catch_up(self, wait: bool) -> None:
        """Take over the present topology. Any thread may call this; never raises.

        Args:
            wait: return only once the topology is taken over, also if another thread does it.
        """

    def felt(self) -> Mapping[str, ShardQuality]:
        """Return what clients felt of each shard since the last call. Any thread may call this."""


class Follower:
    """Holds the topology of one pool and keeps it current from daemon threads.

    The threads end when the last subscriber has left; then the follower cannot be used again.

    Args:
        source: supplies the pool's documents; used by this follower alone.
        sentinel_options: how to connect to the Sentinels that the document names.
        snapshot: where the topology is stored for later processes; None for nowhere.
    """

    def __init__(
        self,
        source: Source,
        sentinel_options: SentinelOptions,
        snapshot: SnapshotFile | None = None,
    ) -> None:
        self._source = source
        self._options = sentinel_options
        self._load_lock = threading.Lock()
        self._failed = _NO_FAILURE
        self._inbox: SimpleQueue[int | None] = SimpleQueue()  # keys of those that leave, or None
        self._state = TopologyState()
        self._lookups = MasterLookups(self._state, self._inbox)
        self._changed = self._state.changed  # guards the next four
        self._subscribers: dict[int, weakref.ref[TopologySubscriber]] = {}
        self._left = weakref.WeakSet[TopologySubscriber]()  # may have something under way yet
        self._keys = itertools.count()
        self._with_replicas = False
        self._wakeup: Wakeup | None = None
        self._stop = StopEvent()
        self._plane = ControlPlane(source.kind)
        self._keeper = SnapshotKeeper(snapshot, self._state, self._plane)
        self._loader = TopologyLoader(
            source, sentinel_options, self._plane, self._lookups, self._keeper
        )
        self._watch = DocumentWatch(
            source,
            self._state,
            self._loader,
            self._plane,
            self._stop,
            self._document_applied,
            self._drained,
        )
        if source.leased is not None:
            source.leased.outbox.felt = self._felt
            source.leased.outbox.settings = self._settings

    def _felt(self) -> Mapping[str, ShardQuality]:
        return merged(subscriber.felt() for subscriber in self._present())

    def _settings(self) -> Mapping[str, str]:
        return told_settings([subscriber.own_settings for subscriber in self._present()])

    def join(self, subscriber: TopologySubscriber) -> int | None:
        """Tell ``subscriber`` of changes from now on. Only a weak reference to it is kept.

        Returns:
            A key for `leave`; None if the last subscriber has left already.
        """
        inbox = self._inbox
        with self._changed:
            if self._state.ended:
                return None
            key = next(self._keys)
            self._subscribers[key] = weakref.ref(subscriber, lambda _: inbox.put(key))
            return key

    def leave(self, key: int) -> None:
        """Remove a subscriber. With the last one, tell the source, which takes up to 0.5 s.

        Args:
            key: as `join` has returned it.
        """
        with self._changed:
            left = self._subscribers.pop(key, None)
            if left is not None and (subscriber := left()) is not None:
                self._left.add(subscriber)
            if self._subscribers:
                return
        self.end()

    def end(self) -> None:
        """Follow no more, and tell the source, which takes up to 0.5 s."""
        with self._changed:
            if self._state.ended:
                return
            self._state.ended = True
            self._changed.notify_all()
        self._stop.set()
        self._inbox.put(None)
        self._notify_soon()
        self._source.leave()

    def leave_soon(self, key: int) -> None:
        """Have a thread call `leave`. Never blocks; safe within a garbage collection."""
        self._inbox.put(key)

    @property
    def ended(self) -> bool:
        """Whether the last subscriber has left."""
        return self._state.ended

    def topology(self, retry_seconds: float = 0.0) -> Topology:
        """Return the present topology; the first call loads it and starts the threads.

        Args:
            retry_seconds: how long Sentinels that time out are asked again at the first call.

        Raises:
            CacheMeshError, redis.ConnectionError: the topology cannot be loaded; see `Source.load`.
        """
        topology = self._state.topology
        return topology if topology is not None else self._start(retry_seconds)

    @property
    def latest(self) -> Topology | None:
        """The present topology, None if none is loaded."""
        return self._state.topology

    @property
    def leased(self) -> LeasedSource | None:
        """The source, if it grants leases."""
        return self._source.leased

    def renew_lease(self, seconds: float) -> bool:
        """Ask the source, as the lease is over; see `LeaseRenewal.wait`."""
        return self._watch.renew_lease(seconds)

    def fetch(self, version: int) -> None:
        """Have a newer document asked for at once; see `DocumentWatch.fetch`."""
        self._watch.fetch(version)

    @property
    def calls(self) -> int:
        """The number of exchanges with Sentinels so far, failed ones included."""
        return self._loader.calls

    def health(self) -> TopologyHealth | None:
        """Return how current the topology is; None if none is loaded."""
        topology = self._state.topology
        return None if topology is None else self._plane.health(topology.document)

    def look_up_master(
        self, shard: str, seen: Address | None, timeout: float | None = None
    ) -> Address | None:
        """Have Sentinels asked for a shard's master, because the known one does not serve.

        At most two look-ups a second are made for all clients of the process. In between, this
        returns at once, and the next look-up is made as soon as allowed; see `wait_for_master`.

        Args:
            shard: the shard's name.
            seen: the master that does not serve; None if none was known.
            timeout: seconds to wait for the look-up; None waits until it is done.

        Returns:
            The master now known, which may be ``seen`` again; None if none is known.

        Raises:
            SentinelUnavailableError: no Sentinel answers.
            CacheMeshError, redis.ConnectionError: the topology cannot be loaded.
        """
        self.topology()
        return self._lookups.look_up(shard, seen, timeout)

    def wait_for_master(self, shard: str, seen: Address | None, timeout: float) -> Address | None:
        """Wait until a shard's known master is another than ``seen``; look-ups go on meanwhile.

        Args:
            shard: the shard's name.
            seen: the master that does not serve; None if none was known.
            timeout: seconds to wait at most.

        Returns:
            The master now known, which is ``seen`` after a timeout.

        Raises:
            CacheMeshError, redis.ConnectionError: the topology cannot be loaded.
        """
        self.topology()
        return self._lookups.wait(shard, seen, timeout)

    def report_master(self, shard: str, seen: Address, master: Address) -> None:
        """Route to ``master`` before Sentinels announce it.

        The caller knows from ``seen`` that it is a replica of ``master``, and from ``master``, by
        ``ROLE``, that it is a master. Sentinels that still name ``seen`` are not believed for 10 s,
        unless `look_up_master` reports that ``master`` does not serve.

        Args:
            shard: the shard's name.
            seen: the former master. If another master is known by now, the call does nothing.
            master: the master to route to.
        """
        self._state.report_master(shard, seen, master)
        self._notify_soon()

    def want_replicas(self) -> None:
        """Look up replicas too from now on, the first time soon."""
        with self._changed:
            if self._with_replicas:
                return
            self._with_replicas = self._watch.with_replicas = True
        self._lookups.request()

    def _start(self, retry_seconds: float) -> Topology:
        asked_at = time.monotonic()
        with self._load_lock:
            if self._state.topology is not None:
                return self._state.topology
            failed_at, failure = self._failed
            if failure is not None and failed_at >= asked_at:
                raise failure  # of the attempt that this thread has waited for
            try:
                topology = self._loader.load(retry_seconds, self._with_replicas)
            except (CacheMeshError, redis.RedisError, OSError) as error:
                self._failed = time.monotonic(), error
                raise
            self._failed = _NO_FAILURE
            with self._changed:
                self._state.topology = topology
                if self._state.ended:
                    return topology
                self._wakeup = wakeup = Wakeup()
            threads: list[tuple[str, Callable[..., None], tuple[Any, ...]]] = [
                ("watch", self._watch.run, ()),
                ("poll", self._poll, ()),
                ("hear", self._hear, (wakeup,)),
            ]
            if self._keeper.keeps:
                threads.append(("keep", self._keeper.run, (self._stop,)))
            for name, body, args in threads:
                threading.Thread(
                    target=body, args=args, name=f"cachemesh-{name}", daemon=True
                ).start()
            return topology

    def _present(self) -> list[TopologySubscriber]:
        """Return the subscribers that are alive."""
        with self._changed:
            references = list(self._subscribers.values())
        return [each for reference in references if (each := reference()) is not None]

    def _notify(self, wait: bool = False) -> None:
        for subscriber in self._present():
            subscriber.catch_up(wait)

    def _document_applied(self) -> None:
        self._notify(wait=True)  # the next call to the source says that it is applied
        self._inbox.put(None)  # poll_interval may be another

    def _drained(self) -> bool:
        with self._changed:
            left = list(self._left)
        return all(subscriber.drained() for subscriber in (*left, *self._present()))

    def _notify_soon(self) -> None:
        """Have the hear thread call `_notify`, so that the calling thread waits for no client."""
        if self._wakeup is not None:
            self._wakeup.wake()

    def _hear(self, wakeup: Wakeup) -> None:
        for event in SentinelEvents(self._options, wakeup).listen(self._addresses, self._stop):
            if isinstance(event, EventsMissed):
                self._lookups.request()
                continue
            if isinstance(event, MasterSwitched):
                self._state.apply_switch(*event)
            elif isinstance(event, CandidateSelected):
                self._state.apply_selection(*event)
            self._notify()
        wakeup.close()

    def _addresses(self) -> tuple[Address, ...]:
        sentinels = self._loader.sentinels
        return () if sentinels is None else sentinels.addresses

    def _poll(self) -> None:
        while not self._state.ended:
            delay = self._lookups.delay(self._poll_interval())
            if delay <= 0:
                self._look_up()
            else:
                self._read_inbox(delay)
        sentinels = self._loader.sentinels
        if sentinels is not None:
            sentinels.close()

    def _read_inbox(self, timeout: float) -> None:
        """Wait for a message, which may also mean that a look-up is due sooner."""
        try:
            key = self._inbox.get(timeout=timeout)
            if key is not None:
                self.leave(key)
        except Empty:
            return

    def _look_up(self) -> None:
        sentinels, topology = self._loader.sentinels, self._state.topology
        if sentinels is None or topology is None:
            return
        requested = self._lookups.begin()
        started, calls, failure = time.monotonic(), sentinels.calls, None
        found = LookupResult()
        try:
            found = sentinels.look_up(topology.document.shard_names, self._with_replicas)
        except SentinelUnavailableError as error:
            failure = error
            self._plane.sentinels_failed()
            if self._lookups.unavailable is None:
                logger.warning("%s", error)
        else:
            self._plane.sentinels_answered()
        for shard, seen in requested:
            if seen is not None and found.masters.get(shard) == seen:
                sentinels.demote(found.told_by[shard])
                break
        if sentinels is not self._loader.sentinels:
            sentinels.close()  # it may have connected after the document named others
        self._state.apply_lookup(found)
        self._lookups.end(started, sentinels.calls - calls, failure)
        self._notify_soon()  # not from here: the next look-up must not wait for a client

    def _poll_interval(self) -> float:
        topology = self._state.topology
        settings = {} if topology is None else topology.document.settings
        return setting_value(settings, "poll_interval")
