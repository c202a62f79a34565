"""The present topology of a pool, and which reports about it are believed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from cachemesh.core.names import Address
from cachemesh.core.pool.topology import Topology
from cachemesh.core.resilience.stale_masters import REPORTED_SECONDS, TOLD_SECONDS, StaleMasters
from cachemesh.discovery.sentinel import LookupResult

logger = logging.getLogger("cachemesh.discovery")


class TopologyState:
    """Holds the present topology of a pool. Threads may share one.

    Attributes:
        changed: the lock that guards this state; threads that wait on it wake at each change.
        topology: None until the first one is loaded.
        ended: whether nobody follows the pool any more.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.topology: Topology | None = None
        self.ended = False
        self._stale = StaleMasters()

    def master_of(self, shard: str) -> Address | None:
        """Return the known master of a shard, None if there is none."""
        return None if self.topology is None else self.topology.masters.get(shard)

    def master_failed(self, shard: str, master: Address | None) -> None:
        """Note that a master does not serve: from now on any report of Sentinels is believed."""
        if master is not None:
            with self.changed:
                self._stale.failed(shard, master)

    def change(self, change: Callable[[Topology], Topology]) -> None:
        """Replace the topology by what ``change`` makes of it. Does nothing before there is one."""
        with self.changed:
            before = self.topology
            after = None if before is None else change(before)
            if after is not before:
                self.topology = after
                self.changed.notify_all()

    def apply_lookup(self, found: LookupResult) -> None:
        """Apply what Sentinels have answered, except masters that are known to be stale."""

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

    def apply_switch(self, shard: str, old: Address, new: Address) -> None:
        """Apply an event: a Sentinel has published ``new`` as the master in place of ``old``."""

        def change(topology: Topology) -> Topology:
            now, known = time.monotonic(), topology.masters.get(shard)
            if shard not in topology.document.shard_names or known == new:
                return topology
            if known != old and not self._stale.admits(shard, new, now):
                return topology
            self._stale.moved(shard, old, new, now, TOLD_SECONDS)
            logger.info("shard %s: the master is %s, says Sentinel", shard, new)
            return topology.with_masters({shard: new})

        self.change(change)

    def apply_selection(self, shard: str, master: Address, candidate: Address) -> None:
        """Apply an event: a Sentinel is about to promote ``candidate`` in place of ``master``."""

        def change(topology: Topology) -> Topology:
            if topology.masters.get(shard) != master:
                return topology
            return topology.with_candidate(shard, candidate)

        self.change(change)

    def report_master(self, shard: str, seen: Address, master: Address) -> None:
        """Apply what instances say: ``seen``, the known master, is a replica of ``master``."""

        def change(topology: Topology) -> Topology:
            if topology.masters.get(shard) != seen or master == seen:
                return topology
            self._stale.moved(shard, seen, master, time.monotonic(), REPORTED_SECONDS)
            logger.info("shard %s: %s says that the master is %s", shard, seen, master)
            return topology.with_masters({shard: master})

        self.change(change)
