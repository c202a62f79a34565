"""What a client routes by: a pool document and who is master of each shard right now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from cachemesh.core.names import Address
from cachemesh.core.pool.document import PoolDocument


class Candidate(NamedTuple):
    """The replica that Sentinel is about to promote, in which of the failovers heard of."""

    address: Address
    failover: int


@dataclass(frozen=True)
class Topology:
    """Immutable; a change makes a new one.

    Attributes:
        document: the pool at one version.
        masters: shard name -> address of its master; a shard nobody could locate is missing.
        replicas: shard name -> addresses of its replicas that Sentinel counts as up, sorted;
            empty as long as no client wants them.
        candidates: shard name -> the replica that Sentinel last selected, in a failover.
    """

    document: PoolDocument
    masters: Mapping[str, Address] = field(default_factory=dict)
    replicas: Mapping[str, tuple[Address, ...]] = field(default_factory=dict)
    candidates: Mapping[str, Candidate] = field(default_factory=dict)

    def with_document(self, document: PoolDocument) -> Topology:
        """Another version of the pool; masters and replicas of shards that stay are kept."""
        names = document.placement.names
        masters = {name: self.masters[name] for name in names if name in self.masters}
        replicas = {name: self.replicas[name] for name in names if name in self.replicas}
        candidates = {name: self.candidates[name] for name in names if name in self.candidates}
        return Topology(document, masters, replicas, candidates)

    def with_masters(self, found: Mapping[str, Address]) -> Topology:
        """The same pool with some masters found anew; itself if nothing differs.

        A replica that has become a master is no replica any more.
        """
        names = self.document.placement.names
        merged = {**self.masters, **{n: a for n, a in found.items() if n in names}}
        if merged == dict(self.masters):
            return self
        replicas = {
            name: tuple(address for address in addresses if address != merged.get(name))
            for name, addresses in self.replicas.items()
        }
        return replace(self, masters=merged, replicas=replicas)

    def with_candidate(self, shard: str, address: Address) -> Topology:
        """The same pool, and Sentinel has selected a replica to be master of a shard."""
        before = self.candidates.get(shard)
        candidate = Candidate(address, 1 if before is None else before.failover + 1)
        return replace(self, candidates={**self.candidates, shard: candidate})

    def with_replicas(self, found: Mapping[str, tuple[Address, ...]]) -> Topology:
        """The same pool with the replicas of some shards found anew; itself if nothing differs."""
        names = self.document.placement.names
        merged = dict(self.replicas)
        for name, addresses in found.items():
            if name in names:
                others = {address for address in addresses if address != self.masters.get(name)}
                merged[name] = tuple(sorted(others))
        return self if merged == dict(self.replicas) else replace(self, replicas=merged)
