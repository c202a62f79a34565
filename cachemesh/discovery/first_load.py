"""How a follower gets its first topology: from source and Sentinels, or from a snapshot.

| source | Sentinels | document | masters |
|---|---|---|---|
| answers | answer | source | Sentinels |
| does not | answer | snapshot | Sentinels |
| answers | do not | source | snapshot |
| does not | do not | snapshot | snapshot |

A source that refuses, because it knows no such pool or because the token is wrong, is obeyed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import redis

from cachemesh.core.errors import CacheMeshError, SentinelUnavailableError, SnapshotError
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.pool.topology import Topology
from cachemesh.discovery.backoff import retry_while_slow
from cachemesh.discovery.control_plane import ControlPlane, is_gone
from cachemesh.discovery.lookups import MasterLookups
from cachemesh.discovery.sentinel import LookupResult, SentinelClient
from cachemesh.discovery.sentinel_connection import SentinelOptions
from cachemesh.discovery.snapshot_keeper import RecalledTopology, SnapshotKeeper
from cachemesh.discovery.source import Source
from cachemesh.transport.lease_clock import clock

logger = logging.getLogger("cachemesh.discovery")

PATIENCE = 0.7
"""Seconds that a client which has a snapshot waits for source and Sentinels before it starts."""

_FAILURES = (CacheMeshError, redis.RedisError, OSError)


@dataclass(frozen=True)
class _Loaded:
    """What source and Sentinels have answered.

    Attributes:
        document: from the source.
        sentinels: the client that was used.
        found: masters and replicas.
        started: when the Sentinels were asked, on the clock of `time.monotonic`.
        calls: the number of exchanges that took.
    """

    document: PoolDocument
    sentinels: SentinelClient
    found: LookupResult
    started: float
    calls: int


class _Attempt:
    """A first load that goes on in a daemon thread when nobody waits for it any more.

    Args:
        load: what to do.
    """

    def __init__(self, load: Callable[[], _Loaded]) -> None:
        self._load = load
        self._done = threading.Event()
        self._loaded: _Loaded | None = None
        self._error: Exception = redis.RedisError("the thread that loads has ended")
        threading.Thread(target=self._run, name="cachemesh-load", daemon=True).start()

    def _run(self) -> None:
        try:
            self._loaded = self._load()
        except _FAILURES as error:
            self._error = error
        finally:
            self._done.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end, and return whether it has come."""
        return self._done.wait(timeout)

    def discard(self, used: SentinelClient | None) -> None:
        """Close the connections to Sentinels that were made, unless they are those in use."""
        if self._loaded is not None and self._loaded.sentinels is not used:
            self._loaded.sentinels.close()

    def result(self) -> _Loaded:
        """Return what was loaded, or raise why it could not be; only after the end."""
        if self._loaded is None:
            raise self._error
        return self._loaded


class TopologyLoader:
    """Loads the first topology of a follower, and holds the client of its Sentinels.

    Args:
        source, options, plane, lookups, keeper: of the follower.

    Attributes:
        sentinels: the client of the Sentinels of now; None before there is one.
        confirmed: whether the document came from the source, not from a snapshot.
    """

    def __init__(
        self,
        source: Source,
        options: SentinelOptions,
        plane: ControlPlane,
        lookups: MasterLookups,
        keeper: SnapshotKeeper,
    ) -> None:
        self._source = source
        self._options = options
        self._plane = plane
        self._lookups = lookups
        self._keeper = keeper
        self._document: PoolDocument | None = None  # that the source has sent first
        self._late: _Attempt | None = None
        self._calls_before = 0
        self.sentinels: SentinelClient | None = None
        self.confirmed = False

    @property
    def calls(self) -> int:
        """The number of exchanges with Sentinels so far, failed ones included."""
        sentinels = self.sentinels
        return self._calls_before + (0 if sentinels is None else sentinels.calls)

    def load(self, retry_seconds: float, with_replicas: bool) -> Topology:
        """Return the first topology.

        Args:
            retry_seconds: how long Sentinels that time out are asked again.
            with_replicas: whether to look up replicas too.

        Raises:
            CacheMeshError, redis.ConnectionError: it cannot be loaded, and there is no snapshot
                that is of use.
        """

        def live() -> _Loaded:
            return retry_while_slow(
                lambda timeout: self._live(timeout, with_replicas),
                self._options.timeout,
                retry_seconds,
            )

        began = time.monotonic()
        self._document = None
        snapshot = self._keeper.recall()
        if not isinstance(snapshot, RecalledTopology):
            return self._install(_loaded_without(live, snapshot))
        attempt = _Attempt(live)
        if not attempt.wait(PATIENCE):
            self._late = attempt
            return self._recalled(snapshot, TimeoutError("nobody answers in time"))
        try:
            return self._install(attempt.result())
        except _FAILURES as error:
            if not is_gone(error):
                raise
            topology = self._recalled(snapshot, error)
            if not isinstance(error, SentinelUnavailableError):
                left = began + PATIENCE - time.monotonic()
                return self._with_masters_of_now(topology, left, with_replicas)
            return topology

    def _live(self, timeout: float, with_replicas: bool) -> _Loaded:
        if self._source.sentinels is not None:
            self._source.sentinels.timeout = timeout
        self._document = document = self._source.load()
        sentinels = self._sentinels_of(document)
        started, calls = time.monotonic(), sentinels.calls
        sentinels.timeout = timeout
        found = sentinels.look_up(document.shard_names, with_replicas)
        if self._source.leased is not None:
            self._source.leased.lease.renew()  # of the call of this thread
        return _Loaded(document, sentinels, found, started, sentinels.calls - calls)

    def _sentinels_of(self, document: PoolDocument) -> SentinelClient:
        return self._source.sentinels or SentinelClient(document.sentinels, self._options)

    def _install(self, loaded: _Loaded) -> Topology:
        self._use(loaded.sentinels)
        loaded.sentinels.timeout = self._options.timeout
        loaded.sentinels.shuffle()
        self._lookups.end(loaded.started, loaded.calls)
        self._plane.source_confirmed()
        self._plane.sentinels_answered()
        self.confirmed = True
        return Topology(loaded.document, loaded.found.masters).with_replicas(loaded.found.replicas)

    def use_sentinels(self, document: PoolDocument) -> SentinelClient:
        """Return the client of the Sentinels that a document names, from now on `sentinels`."""
        sentinels = self._use(self._sentinels_of(document))
        sentinels.shuffle()
        return sentinels

    def _use(self, after: SentinelClient) -> SentinelClient:
        before, self.sentinels = self.sentinels, after
        if before is not None and before is not after:
            self._calls_before += before.calls
            before.close()
        return after

    def _recalled(self, recalled: RecalledTopology, reason: Exception) -> Topology:
        """Return what a snapshot holds; with the source's document, if that has answered."""
        self._plane.recalled(recalled.age)
        topology, sent = recalled.topology, self._document
        self.confirmed = sent is not None
        what = f"version {topology.document.version}, confirmed {recalled.age:.0f} s ago"
        if sent is not None:
            self._plane.source_confirmed()
            topology = topology.with_document(sent)
            what = f"for the masters alone; version {sent.version} is from the {self._source.kind}"
        logger.warning(
            "pool %s starts from the snapshot %s: %s; whoever answers will be followed. %.500s",
            topology.document.pool,
            recalled.path,
            what,
            reason,
        )
        self.use_sentinels(topology.document)
        self._lookups.request()
        if self._source.leased is not None and sent is None:
            self._source.leased.lease.failed(clock())  # the first command need not find that out
        return topology

    def _with_masters_of_now(
        self, topology: Topology, seconds: float, with_replicas: bool
    ) -> Topology:
        """Return the topology with what the Sentinels say, if one says so in the time left."""
        sentinels = self.sentinels
        if sentinels is None or seconds <= 0:
            return topology
        sentinels.timeout = min(self._options.timeout, seconds / max(1, len(sentinels.addresses)))
        started, calls = time.monotonic(), sentinels.calls
        try:
            found = sentinels.look_up(topology.document.shard_names, with_replicas)
        except SentinelUnavailableError:  # the thread that polls them will log that
            return topology
        finally:
            sentinels.timeout = self._options.timeout
        self._lookups.end(started, sentinels.calls - calls)
        self._plane.sentinels_answered()
        return topology.with_masters(found.masters).with_replicas(found.replicas)

    def confirm(self, held: PoolDocument) -> PoolDocument:
        """Return the source's document, in place of that of a snapshot. For the watch thread.

        Args:
            held: the document of the snapshot.

        Raises:
            As `Source.load`.
        """
        late, self._late = self._late, None
        if late is not None:
            late.wait()  # one load at a time
            late.discard(self.sentinels)
        self._source.resume(held)
        return self._source.load()


def _loaded_without(live: Callable[[], _Loaded], unusable: SnapshotError | None) -> _Loaded:
    """Return what is loaded, without a snapshot; if nobody answers, log why there is none."""
    try:
        return live()
    except _FAILURES as error:
        if unusable is not None and is_gone(error):
            logger.error("there is no snapshot to start from: %s", unusable)
        raise
