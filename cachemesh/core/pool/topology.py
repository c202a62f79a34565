"""What a client routes by: a pool document, and the current masters and replicas of its shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from cachemesh.core.names import Address
from cachemesh.core.pool.document import PoolDocument


class Candidate(NamedTuple):
    """The replica that Sentinel is about to promote.

    Attributes:
        address: of the replica.
        failover: counts the failovers of the shard that were announced, from 1.
    """

    address: Address
    failover: int


@dataclass(frozen=True)
class Topology:
    """A pool document with the addresses of its instances. Immutable.

    Attributes:
        document: the pool at one version.
        masters: shard name -> address of its master; a shard without a known master is missing.
        replicas: shard name -> sorted addresses of its replicas that Sentinel counts as up; empty
            as long as no client wants replicas.
        candidates: shard name -> the replica that Sentinel selected in the shard's last failover.
    """

    document: PoolDocument
    masters: Mapping[str, Address] = field(default_factory=dict)
    replicas: Mapping[str, tuple[Address, ...]] = field(default_factory=dict)
    candidates: Mapping[str, Candidate] = field(default_factory=dict)

    def with_document(self, document: PoolDocument) -> Topology:
        """Return the topology with another version of the pool.

        The known instances of shards that remain are kept.

        Args:
            document: the other version.
        """
        names = document.shard_names
        masters = {name: self.masters[name] for name in names if name in self.masters}
        replicas = {name: self.replicas[name] for name in names if name in self.replicas}
        candidates = {name: self.candidates[name] for name in names if name in self.candidates}
        return Topology(document, masters, replicas, candidates)

    def with_masters(self, found: Mapping[str, Address]) -> Topology:
        """Return the topology with some masters replaced; itself if nothing differs.

        A replica that has become master is removed from the replicas.

        Args:
            found: shard name -> address of its master; unknown shards are ignored.
        """
        names = self.document.shard_names
        merged = {**self.masters, **{n: a for n, a in found.items() if n in names}}
        if merged == dict(self.masters):
            return self
        replicas = {
            name: tuple(address for address in addresses if address != merged.get(name))
            for name, addresses in self.replicas.items()
        }
        return replace(self, masters=merged, replicas=replicas)

    def with_candidate(self, shard: str, address: Address) -> Topology:
        """Return the topology with the replica that Sentinel has selected for promotion.

        Args:
            shard: name of the shard.
            address: of the replica.
        """
        before = self.candidates.get(shard)
        candidate = Candidate(address, 1 if before is None else before.failover + 1)
        return replace(self, candidates={**self.candidates, shard: candidate})

    def with_replicas(self, found: Mapping[str, tuple[Address, ...]]) -> Topology:
        """Return the topology with the replicas of some shards replaced; itself if nothing differs.

        Args:
            found: shard name -> addresses of its replicas; unknown shards are ignored.
        """
        names = self.document.shard_names
        merged = dict(self.replicas)
        for name, addresses in found.items():
            if name in names:
                others = {address for address in addresses if address != self.masters.get(name)}
                merged[name] = tuple(sorted(others))
        return self if merged == dict(self.replicas) else replace(self, replicas=merged)
