"""The keeper of one pool's snapshot: recalls the stored one, and stores what is routed by."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from cachemesh.core.errors import SnapshotError
from cachemesh.core.pool.snapshot import RENEW_SECONDS
from cachemesh.core.pool.topology import Topology
from cachemesh.discovery.control_plane import ControlPlane
from cachemesh.discovery.snapshot import SnapshotFile
from cachemesh.discovery.topology_state import TopologyState
from cachemesh.discovery.wakeup import StopEvent

logger = logging.getLogger("cachemesh.discovery")

_BETWEEN_SECONDS = 1.0


@dataclass(frozen=True)
class RecalledTopology:
    """A topology from a snapshot.

    Attributes:
        topology: as stored.
        age: seconds since its document was confirmed.
        path: of the file.
    """

    topology: Topology
    age: float
    path: Path


class SnapshotKeeper:
    """Recalls and stores the snapshot of one pool for one follower.

    Args:
        file: where; None for nowhere.
        state: holds the topology of now.
        plane: knows when it was confirmed.
    """

    def __init__(self, file: SnapshotFile | None, state: TopologyState, plane: ControlPlane):
        self._file = file
        self._state = state
        self._plane = plane
        self._failed = False

    @property
    def keeps(self) -> bool:
        """Whether there is a place for snapshots."""
        return self._file is not None

    def recall(self) -> RecalledTopology | SnapshotError | None:
        """Return what is stored, why it is of no use, or None if there is nothing."""
        if self._file is None:
            return None
        try:
            snapshot = self._file.read()
        except SnapshotError as error:
            return error
        if snapshot is None:
            return None
        return RecalledTopology(snapshot.topology, self._file.age(snapshot), self._file.path)

    def run(self, stop: StopEvent) -> None:
        """Store each topology that is new, at most one a second. The body of a thread.

        On a thread of its own: a file system that hangs must delay no failover. The first one is
        stored at once, the others after a second: until then the app may need the time itself, as
        in a resize.

        Args:
            stop: ends the thread soon after it is set.
        """
        stored: Topology | None = None
        while not stop.is_set():
            first, stored = stored is None, self._next(stored)
            if not first and not stop.wait(_BETWEEN_SECONDS):
                stored = self._state.topology
            if stored is not None:
                self._store(stored)

    def _next(self, stored: Topology | None) -> Topology | None:
        """Wait for a topology that is not stored, or until the stored one has to be renewed."""
        state = self._state
        with state.changed:
            state.changed.wait_for(
                lambda: state.ended or state.topology is not stored, RENEW_SECONDS
            )
            return state.topology

    def _store(self, topology: Topology) -> None:
        if self._file is None:
            return
        try:
            self._file.store(topology, time.monotonic() - self._plane.confirmed_at)
        except OSError as error:
            if not self._failed:
                self._failed = True
                logger.warning(
                    "pool %s: its topology cannot be stored at %s: %s. The app goes on, but could "
                    "not start without metaserver or Sentinels; set snapshot_dir or "
                    "CACHEMESH_SNAPSHOT_DIR to a directory that it may write, or to off",
                    topology.document.pool,
                    self._file.path,
                    error.strerror or error,
                )
        else:
            self._failed = False
