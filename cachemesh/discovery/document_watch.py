"""The watch of a source: each document that it gives is applied, and then the lease renewed.

    watch thread, in turn ------------\\
                                       +--> apply --> tell the clients --> renew the lease
    a question, as the lease is over --/
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import redis

from cachemesh.core.errors import CacheMeshError, InvalidDocumentError
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.pool.topology import Topology
from cachemesh.discovery.backoff import repeat_until_stopped
from cachemesh.discovery.control_plane import ControlPlane
from cachemesh.discovery.first_load import TopologyLoader
from cachemesh.discovery.lease import LeaseRenewal
from cachemesh.discovery.source import Source, older
from cachemesh.discovery.topology_state import TopologyState
from cachemesh.discovery.wakeup import StopEvent
from cachemesh.transport.lease_clock import clock

logger = logging.getLogger("cachemesh.discovery")

_DRAIN_STEP = 0.002  # seconds between two looks whether earlier commands are over
_DRAIN_SECONDS = 0.2  # seconds after which the source is asked how the resize goes on

_REFUSED_SECONDS = 2.0
"""Seconds from a refused document until the source is asked again."""


class DocumentWatch:
    """Keeps the document of a topology current.

    Args:
        source, state, loader, plane, stop: of the follower.
        applied: called after each new document; tells the clients, and waits for them.
        drained: tells whether no command of the clients is under way any more that was routed
            before the preparation of a resize.

    Attributes:
        with_replicas: whether to look up the replicas of new shards too.
    """

    def __init__(
        self,
        source: Source,
        state: TopologyState,
        loader: TopologyLoader,
        plane: ControlPlane,
        stop: StopEvent,
        applied: Callable[[], None],
        drained: Callable[[], bool],
    ) -> None:
        self.with_replicas = False
        self._source = source
        self._state = state
        self._loader = loader
        self._plane = plane
        self._stop = stop
        self._applied = applied
        self._drained = drained
        self._undrained: int | None = None  # the version before a resize that is being prepared
        self._applying = threading.Lock()
        self._fetching = threading.Lock()
        leased = source.leased
        self._lease = None if leased is None else leased.lease
        self._renewal = (
            None if leased is None else LeaseRenewal(leased.lease, self._ask, self._stop)
        )

    def run(self) -> None:
        """Wait for one document after the other. The body of a thread."""
        repeat_until_stopped(self._step, self._stop)

    def renew_lease(self, seconds: float) -> bool:
        """Ask the source, as the lease is over; see `LeaseRenewal.wait`."""
        return self._renewal is None or self._renewal.wait(seconds)

    def fetch(self, version: int) -> None:
        """Ask for a document of this version or a later one, unless there is one by now.

        Threads that want one meanwhile wait for the same answer. A failure is the watch's to tell.
        """
        with self._fetching:
            topology = self._state.topology
            if self._state.ended or topology is None or topology.document.version >= version:
                return
            try:
                self._ask(version)
            except (CacheMeshError, redis.RedisError, OSError) as error:
                logger.debug("version %d cannot be fetched: %s", version, error)

    def _step(self) -> None:
        topology = self._state.topology
        if topology is None:
            return
        self._await_drained()
        asked, held = clock(), topology.document
        try:
            document = self._next(held) if self._loader.confirmed else self._first(held)
        except InvalidDocumentError as error:
            self._failed(asked)
            self._plane.refuse(error, held)
            self._stop.wait(_REFUSED_SECONDS)
            return
        except (CacheMeshError, redis.RedisError, OSError):
            self._failed(asked)
            self._plane.source_failed()
            raise
        if not self._stop.is_set():
            self._apply(document)

    def _failed(self, asked: float) -> None:
        if self._lease is not None:
            self._lease.failed(asked)

    def _next(self, held: PoolDocument) -> PoolDocument | None:
        document = self._source.wait(self._acknowledged(held), self._stop)
        self._plane.source_confirmed()
        return document

    def _acknowledged(self, held: PoolDocument) -> int:
        """Return the version that the source may take for applied.

        The preparation of a resize is that only once nothing is under way any more that was routed
        before it: other clients may then write the keys where they move to.
        """
        with self._applying:  # before the clients have applied a document, all looks drained
            before = self._undrained
            if before is None or self._drained():
                self._undrained = None
                return held.version
            return before

    def _await_drained(self) -> None:
        """Wait a little while, if commands are under way that were routed before a resize."""
        deadline = clock() + _DRAIN_SECONDS
        while self._undrained is not None and not self._drained():
            if clock() >= deadline:
                self._applied()  # some client may not have been able to apply it
                return
            if self._stop.wait(_DRAIN_STEP):
                return

    def _first(self, held: PoolDocument) -> PoolDocument | None:
        """Return what the source has in place of the document of a snapshot."""
        document = self._loader.confirm(held)
        self._loader.confirmed = True
        if document.version < held.version:
            raise older(document, held.version)
        self._plane.source_confirmed()
        logger.info("pool %s: the %s answers again", held.pool, self._source.kind)
        return document

    def _ask(self, wanted: int = 0) -> None:
        """Ask for a newer document at once, and apply it.

        Args:
            wanted: as in `LeasedSource.ask`.
        """
        leased, topology = self._source.leased, self._state.topology
        if leased is not None and topology is not None:
            document = leased.ask(self._acknowledged(topology.document), wanted)
            self._plane.source_confirmed()
            self._apply(document)

    def _apply(self, document: PoolDocument | None) -> None:
        """Apply a document that the source has given to this thread, and then renew the lease."""
        with self._applying:
            topology = self._state.topology
            if document is not None and topology is not None:
                held = topology.document
                changed = document.version == held.version and document.to_json() != held.to_json()
                if document.version > held.version or changed:
                    self._apply_newer(document, topology)
        if self._lease is not None:
            self._lease.renew()

    def _apply_newer(self, document: PoolDocument, topology: Topology) -> None:
        sentinels = self._loader.sentinels
        if sentinels is None or document.sentinels != topology.document.sentinels:
            sentinels = self._loader.use_sentinels(document)
        if document.migrating is not None and self._undrained is None:
            self._undrained = topology.document.version
        new = set(document.shard_names) - set(topology.masters)
        found = sentinels.look_up(sorted(new), self.with_replicas)
        self._state.change(
            lambda before: (
                before.with_document(document)
                .with_masters(found.masters)
                .with_replicas(found.replicas)
            )
        )
        self._applied()
        logger.info("pool %s: version %d applied", document.pool, document.version)
