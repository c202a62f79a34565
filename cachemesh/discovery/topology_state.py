"""The current topology, and which reports about masters are believed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from cachemesh.core.names import Address
from cachemesh.core.pool.topology import Topology
from cachemesh.core.resilience.stale_masters import SUGGESTED_SECONDS, TOLD_SECONDS, StaleMasters
from cachemesh.discovery.sentinel import LookupResult

logger = logging.getLogger("cachemesh.discovery")


class TopologySubscriber(Protocol):
    """A client's membership as the follower sees it: told of each change of the topology."""

    def catch_up(self, wait: bool) -> None:
        """Take in the current topology. Called from any thread; does not raise.

        Args:
            wait: return only once the topology is taken in, also if another thread does so.
        """


class TopologyState:
    """Holds the current topology. Thread-safe.

    Attributes:
        changed: condition that is held during a change, and notified after it.
        topology: the current topology; None until the first one is set.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.topology: Topology | None = None
        self._stale = StaleMasters()

    def master_of(self, shard: str) -> Address | None:
        """Return the known master of a shard, or None.

        Args:
            shard: name of the shard.
        """
        return None if self.topology is None else self.topology.masters.get(shard)

    def failed(self, shard: str, master: Address | None) -> None:
        """Record that a master does not serve: from now on Sentinels are believed about that shard.

        Args:
            shard: name of the shard.
            master: the master that does not serve; None if none was known.
        """
        if master is not None:
            with self.changed:
                self._stale.failed(shard, master)

    def change(self, change: Callable[[Topology], Topology]) -> None:
        """Replace the topology by ``change(topology)``; do nothing before a first one is set.

        Args:
            change: returns the new topology, or its argument if nothing changes.
        """
        with self.changed:
            before = self.topology
            after = None if before is None else change(before)
            if after is not before:
                self.topology = after
                self.changed.notify_all()

    def take_in(self, found: LookupResult) -> None:
        """Apply the result of a look-up, except for masters that are known to be out of date.

        Args:
            found: the masters and replicas that Sentinels named.
        """

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
        """Apply a ``+switch-master`` event.

        Args:
            shard: name of the shard.
            old: the former master.
            new: the new master.
        """

        def change(topology: Topology) -> Topology:
            now, known = time.monotonic(), topology.masters.get(shard)
            if shard not in topology.document.placement.names or known == new:
                return topology
            if known != old and not self._stale.admits(shard, new, now):
                return topology  # out of date
            self._stale.moved(shard, old, new, now, TOLD_SECONDS)
            logger.info("shard %s: the master is %s, says Sentinel", shard, new)
            return topology.with_masters({shard: new})

        self.change(change)

    def selected(self, shard: str, master: Address, candidate: Address) -> None:
        """Apply a ``+selected-slave`` event.

        Args:
            shard: name of the shard.
            master: the present master; the event is ignored if another one is known.
            candidate: the replica that Sentinel is about to promote.
        """

        def change(topology: Topology) -> Topology:
            if topology.masters.get(shard) != master:
                return topology
            return topology.with_candidate(shard, candidate)

        self.change(change)

    def report_master(self, shard: str, seen: Address, master: Address) -> None:
        """Apply what instances report: ``seen``, taken for the master, is a replica of ``master``.

        Args:
            shard: name of the shard.
            seen: ignored unless it is the known master.
            master: the instance to route to.
        """

        def change(topology: Topology) -> Topology:
            if topology.masters.get(shard) != seen or master == seen:
                return topology
            self._stale.moved(shard, seen, master, time.monotonic(), SUGGESTED_SECONDS)
            logger.info("shard %s: %s says that the master is %s", shard, seen, master)
            return topology.with_masters({shard: master})

        self.change(change)
