"""The follower keeps one pool's topology current. All clients of the pool in a process share it.

load --> topology --> watch thread    new pool documents from the source
                  --> hear thread     +switch-master from all Sentinels: fast, but may be missed
                  --> poll thread     all masters every poll_interval: certain; sooner if a master
                                      does not serve
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from queue import Empty, SimpleQueue

import redis

from cachemesh.core.errors import CacheMeshError, SentinelUnavailableError
from cachemesh.core.names import Address
from cachemesh.core.pool.settings import setting_value
from cachemesh.core.pool.topology import Topology
from cachemesh.core.resilience.lookup_throttle import LookupThrottle
from cachemesh.discovery.backoff import repeat_until_stopped, retry_while_slow
from cachemesh.discovery.sentinel import LookupResult, SentinelClient
from cachemesh.discovery.sentinel_connection import SentinelOptions
from cachemesh.discovery.sentinel_events import SentinelEvents
from cachemesh.discovery.source import Source
from cachemesh.discovery.topology_state import TopologyState, TopologySubscriber
from cachemesh.discovery.wakeup import StopEvent, Wakeup

logger = logging.getLogger("cachemesh.discovery")

_NO_FAILURE: tuple[float, Exception | None] = float("-inf"), None


class Follower:
    """Holds the topology of one pool and keeps it current from daemon threads.

    Subscribers join and leave. When the last one leaves, the threads end and the follower cannot be
    used again.

    Args:
        source: supplies the pool's documents; used by this follower alone.
        sentinel_options: how to connect to the Sentinels that the document names.
    """

    def __init__(self, source: Source, sentinel_options: SentinelOptions) -> None:
        self._source = source
        self._options = sentinel_options
        self._load_lock = threading.Lock()
        self._failed = _NO_FAILURE
        self._state = TopologyState()
        self._changed = self._state.changed  # its lock guards all attributes below
        self._subscribers: dict[int, Callable[[], TopologySubscriber | None]] = {}
        self._ended = False
        self._throttle = LookupThrottle()
        self._asked: set[tuple[str, Address | None]] = set()
        self._waiting: Counter[tuple[str, Address | None]] = Counter()
        self._early = False
        self._with_replicas = False
        self._looking = False
        self._looks = 0
        self._unavailable: SentinelUnavailableError | None = None
        self._stop = StopEvent()
        self._wakeup: Wakeup | None = None
        self._inbox: SimpleQueue[int | None] = SimpleQueue()
        self._sentinels: SentinelClient | None = None
        self._calls_before = 0

    def join(self, key: int, subscriber: Callable[[], TopologySubscriber | None]) -> bool:
        """Add a subscriber, which is told of changes from now on.

        Args:
            key: identifies the subscriber, for `leave`.
            subscriber: returns the subscriber, or None once it has been garbage-collected.

        Returns:
            False if the last subscriber has left before: this follower has ended.
        """
        with self._changed:
            if not self._ended:
                self._subscribers[key] = subscriber
            return not self._ended

    def leave(self, key: int) -> None:
        """Remove the subscriber ``key``. The last one ends the follower and tells the source."""
        with self._changed:
            self._subscribers.pop(key, None)
            if self._subscribers or self._ended:
                return
            self._ended = True
            self._changed.notify_all()
            started = self._state.topology is not None
        self._stop.set()
        self._inbox.put(None)
        self._tell_soon()
        if started:
            self._source.leave()

    def leave_soon(self, key: int) -> None:
        """Have the poll thread call `leave`. Returns at once; safe within a garbage collection."""
        self._inbox.put(key)

    @property
    def ended(self) -> bool:
        """Whether the last subscriber has left."""
        return self._ended

    def topology(self, retry_seconds: float = 0.0) -> Topology:
        """Return the current topology. The first call loads the topology and starts the threads.

        Args:
            retry_seconds: how long slow Sentinels are asked again, in seconds.

        Raises:
            CacheMeshError, redis.ConnectionError: the topology cannot be loaded; see `Source.load`.
        """
        topology = self._state.topology
        return topology if topology is not None else self._start(retry_seconds)

    @property
    def latest(self) -> Topology | None:
        """The current topology, or None before one is loaded."""
        return self._state.topology

    @property
    def calls(self) -> int:
        """How many exchanges with Sentinels there were, failed ones included."""
        sentinels = self._sentinels
        return self._calls_before + (0 if sentinels is None else sentinels.calls)

    def look_up_master(
        self, shard: str, seen: Address | None, seconds: float | None = None
    ) -> Address | None:
        """Ask Sentinel for the master again, because the master ``seen`` did not serve.

        All threads and clients of the process together make at most two look-ups a second. In
        between, this method returns at once and the next look-up follows as soon as the limit
        allows; see `wait_for_master`.

        Args:
            shard: name of the shard.
            seen: the master that did not serve; None if no master was known.
            seconds: how long to wait for the look-up; None waits until the look-up is done.

        Returns:
            The master's address known now, which may still be ``seen``; None if no master is known.

        Raises:
            SentinelUnavailableError: none of the Sentinels answers.
            CacheMeshError, redis.ConnectionError: the topology cannot be loaded.
        """
        topology = self.topology()
        master_of = self._state.master_of
        with self._changed:
            if (
                master_of(shard) != seen
                or self._ended
                or shard not in topology.document.placement.names
            ):
                return master_of(shard)
            self._state.failed(shard, seen)
            first = not self._asked
            self._asked.add((shard, seen))
            if first:
                self._inbox.put(None)
            if self._looking or time.monotonic() >= self._throttle.ready_at:
                looks = self._looks
                self._changed.wait_for(
                    lambda: self._looks != looks or self._ended or master_of(shard) != seen,
                    seconds,
                )
            if master_of(shard) == seen and self._unavailable is not None:
                raise SentinelUnavailableError(str(self._unavailable))
            return master_of(shard)

    def wait_for_master(self, shard: str, seen: Address | None, seconds: float) -> Address | None:
        """Wait until the known master differs from ``seen``; Sentinel is asked meanwhile.

        Args:
            shard: name of the shard.
            seen: the master that does not serve; None if none was known.
            seconds: how long to wait at most.

        Returns:
            The master's address known now, which is still ``seen`` if the time has passed.

        Raises:
            CacheMeshError, redis.ConnectionError: the topology cannot be loaded.
        """
        self.topology()
        with self._changed:
            if self._state.master_of(shard) == seen and not self._ended:
                self._state.failed(shard, seen)
                self._waiting[shard, seen] += 1
                self._inbox.put(None)
                try:
                    self._changed.wait_for(
                        lambda: self._state.master_of(shard) != seen or self._ended, seconds
                    )
                finally:
                    self._waiting[shard, seen] -= 1
            return self._state.master_of(shard)

    def report_master(self, shard: str, seen: Address, master: Address) -> None:
        """Route a shard to ``master`` before Sentinel names that instance.

        Called when ``seen`` reports, by ``ROLE``, that it is a replica of ``master``, and
        ``master`` reports that it is a master. For 10 s, replies of Sentinels that still name
        ``seen`` are ignored, unless `look_up_master` reports that ``master`` does not serve. Does
        nothing if ``seen`` is not the known master.

        Args:
            shard: name of the shard.
            seen: the instance that was taken for the master.
            master: the instance to route to.
        """
        self._state.report_master(shard, seen, master)
        self._tell_soon()

    def want_replicas(self) -> None:
        """Look for replicas too from now on; the first look-up follows soon."""
        with self._changed:
            if self._with_replicas:
                return
            self._with_replicas = self._early = True
        self._inbox.put(None)

    def _start(self, retry_seconds: float) -> Topology:
        asked_at = time.monotonic()
        with self._load_lock:
            if self._state.topology is not None:
                return self._state.topology
            failed_at, failure = self._failed
            if failure is not None and failed_at >= asked_at:
                raise failure  # from the attempt that this thread waited for
            try:
                topology = retry_while_slow(self._load, self._options.timeout, retry_seconds)
            except (CacheMeshError, redis.RedisError, OSError) as error:
                self._failed = time.monotonic(), error
                raise
            self._failed = _NO_FAILURE
            with self._changed:
                self._state.topology = topology
                if self._ended:
                    return topology
                self._wakeup = Wakeup()
            for name, body in (("watch", self._watch), ("poll", self._poll), ("hear", self._hear)):
                threading.Thread(target=body, name=f"cachemesh-{name}", daemon=True).start()
            return topology

    def _load(self, seconds: float) -> Topology:
        if self._source.sentinels is not None:
            self._source.sentinels.timeout = seconds
        document = self._source.load()
        sentinels = self._use_sentinels(document.sentinels)
        started, calls = time.monotonic(), sentinels.calls
        sentinels.timeout = seconds
        found = sentinels.look_up(document.placement.names, self._with_replicas)
        sentinels.timeout = self._options.timeout
        sentinels.shuffle()
        self._throttle.asked(started, sentinels.calls - calls, True, random.random())
        return Topology(document, found.masters).with_replicas(found.replicas)

    def _use_sentinels(self, addresses: tuple[str, ...]) -> SentinelClient:
        before = self._sentinels
        after = self._source.sentinels or SentinelClient(addresses, self._options)
        if before is not None and before is not after:
            self._calls_before += before.calls
            before.close()
        self._sentinels = after
        return after

    def _tell_all(self, wait: bool = False) -> None:
        with self._changed:
            subscribers = list(self._subscribers.values())
        for subscriber_of in subscribers:
            subscriber = subscriber_of()
            if subscriber is not None:
                subscriber.catch_up(wait)

    def _tell_soon(self) -> None:
        if self._wakeup is not None:
            self._wakeup.wake()

    def _watch(self) -> None:
        def step() -> None:
            topology = self._state.topology
            if topology is None:
                return
            document = self._source.wait(topology.document.version, self._stop)
            if document is None or self._stop.is_set():
                return
            sentinels = self._sentinels
            if sentinels is None or document.sentinels != topology.document.sentinels:
                sentinels = self._use_sentinels(document.sentinels)
            new = set(document.placement.names) - set(topology.masters)
            found = sentinels.look_up(sorted(new), self._with_replicas)
            self._state.change(
                lambda before: (
                    before.with_document(document)
                    .with_masters(found.masters)
                    .with_replicas(found.replicas)
                )
            )
            self._tell_all(wait=True)  # the next watch call acknowledges the version
            self._inbox.put(None)  # poll_interval may have changed
            logger.info("pool %s: version %d applied", document.pool, document.version)

        repeat_until_stopped(step, self._stop)

    def _hear(self) -> None:
        def soon() -> None:
            with self._changed:
                self._early = True
            self._inbox.put(None)

        def addresses() -> tuple[Address, ...]:
            sentinels = self._sentinels
            return () if sentinels is None else sentinels.addresses

        def on_switch(shard: str, old: Address, new: Address) -> None:
            self._state.switched(shard, old, new)
            self._tell_all()

        def on_selected(shard: str, master: Address, candidate: Address) -> None:
            self._state.selected(shard, master, candidate)
            self._tell_all()

        wakeup = self._wakeup
        assert wakeup is not None  # set before this thread starts
        listening = SentinelEvents(self._options, on_switch, on_selected, soon)
        listening.run(addresses, self._stop, wakeup, self._tell_all)
        wakeup.close()

    def _poll(self) -> None:
        polled_at = time.monotonic()
        while not self._ended:
            with self._changed:
                wanted = self._early or bool(self._asked) or any(self._waiting.values())
                due = polled_at if wanted else polled_at + self._setting("poll_interval")
                delay = max(due, self._throttle.ready_at) - time.monotonic()
                self._looking = delay <= 0
            if delay <= 0:
                self._look()
                polled_at = time.monotonic()
            else:
                self._read_inbox(delay)
        sentinels = self._sentinels
        if sentinels is not None:
            sentinels.close()

    def _read_inbox(self, seconds: float) -> None:
        """Wait up to ``seconds`` for a message, and remove the subscriber named in it, if any."""
        try:
            key = self._inbox.get(timeout=seconds)
            if key is not None:
                self.leave(key)
        except Empty:
            return

    def _look(self) -> None:
        sentinels, topology = self._sentinels, self._state.topology
        if sentinels is None or topology is None:
            return
        with self._changed:
            asked = self._asked | {key for key, count in self._waiting.items() if count}
            self._asked, self._early = set(), False
        started, calls, failure = time.monotonic(), sentinels.calls, None
        found = LookupResult()
        try:
            found = sentinels.look_up(topology.document.placement.names, self._with_replicas)
        except SentinelUnavailableError as error:
            failure = error
            if self._unavailable is None:
                logger.warning("%s", error)
        for shard, seen in asked:
            if seen is not None and found.masters.get(shard) == seen:
                sentinels.demote(found.told_by[shard])
                break
        self._state.take_in(found)
        with self._changed:
            self._throttle.asked(started, sentinels.calls - calls, failure is None, random.random())
            self._unavailable = failure
            self._looking = False
            self._looks += 1
            self._waiting = +self._waiting  # drops the counts of 0
            self._changed.notify_all()
        self._tell_soon()  # in another thread, so that listeners do not delay polls

    def _setting(self, name: str) -> float:
        topology = self._state.topology
        return setting_value({} if topology is None else topology.document.settings, name)
