"""The topology of now, and what to believe of all that is said about it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from cachemesh.core.names import Address
from cachemesh.core.pool.topology import Topology
from cachemesh.core.resilience.stale_masters import SUGGESTED_SECONDS, TOLD_SECONDS, StaleMasters
from cachemesh.discovery.sentinel import LookupResult

logger = logging.getLogger("cachemesh.discovery")


class TopologyState:
    """Holds the topology. Any thread.

    Attributes:
        changed: held while it changes; those who wait on it are woken then.
        topology: None before it is set for the first time.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.topology: Topology | None = None
        self._stale = StaleMasters()

    def master_of(self, shard: str) -> Address | None:
        """The master known."""
        return None if self.topology is None else self.topology.masters.get(shard)

    def failed(self, shard: str, master: Address | None) -> None:
        """That master does not serve: what Sentinels say counts, whatever was said before."""
        if master is not None:
            with self.changed:
                self._stale.failed(shard, master)

    def change(self, change: Callable[[Topology], Topology]) -> None:
        """Make another topology of that of now, unless there is none."""
        with self.changed:
            before = self.topology
            after = None if before is None else change(before)
            if after is not before:
                self.topology = after
                self.changed.notify_all()

    def take_in(self, found: LookupResult) -> None:
        """What Sentinels have answered, except what is known to be out of date."""

        def change(topology: Topology) -> Topology:
            now, believed = time.monotonic(), {}
            for shard, address in found.masters.items():
                known = topology.masters.get(shard)
                if self._stale.admits(shard, address, now):
                    believed[shard] = address
                    if known is not None and known != address:
                        self._stale.moved(shard, known, address, now, TOLD_SECONDS)
            return topology.with_masters(believed).with_replicas(found.replicas)

        self.change(change)

    def switched(self, shard: str, old: Address, new: Address) -> None:
        """What a Sentinel has published: the master was ``old`` and is ``new``."""

        def change(topology: Topology) -> Topology:
            now, known = time.monotonic(), topology.masters.get(shard)
            if shard not in topology.document.placement.names or known == new:
                return topology
            if known != old and not self._stale.admits(shard, new, now):
                return topology  # an old story
            self._stale.moved(shard, old, new, now, TOLD_SECONDS)
            logger.info("shard %s: the master is %s, says Sentinel", shard, new)
            return topology.with_masters({shard: new})

        self.change(change)

    def selected(self, shard: str, master: Address, candidate: Address) -> None:
        """What a Sentinel has published: ``candidate`` is going to be master in place of this."""

        def change(topology: Topology) -> Topology:
            if topology.masters.get(shard) != master:
                return topology
            return topology.with_candidate(shard, candidate)

        self.change(change)

    def report_master(self, shard: str, seen: Address, master: Address) -> None:
        """What instances say: ``seen``, taken for the master, is a replica of ``master``."""

        def change(topology: Topology) -> Topology:
            if topology.masters.get(shard) != seen or master == seen:
                return topology
            self._stale.moved(shard, seen, master, time.monotonic(), SUGGESTED_SECONDS)
            logger.info("shard %s: %s says that the master is %s", shard, seen, master)
            return topology.with_masters({shard: master})

        self.change(change)
