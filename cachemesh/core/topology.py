"""What a client routes by: a pool document and who is master of each shard right now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cachemesh.core.names import Address
from cachemesh.core.pool import PoolDocument


@dataclass(frozen=True)
class Topology:
    """Immutable; a change makes a new one.

    Attributes:
        document: the pool at one version.
        masters: shard name -> address of its master; a shard nobody could locate is missing.
    """

    document: PoolDocument
    masters: Mapping[str, Address] = field(default_factory=dict)

    def with_document(self, document: PoolDocument) -> Topology:
        """Another version of the pool; masters of shards that stay are kept."""
        names = document.placement.names
        masters = {name: self.masters[name] for name in names if name in self.masters}
        return Topology(document, masters)

    def with_masters(self, found: Mapping[str, Address]) -> Topology:
        """The same pool with some masters found anew; itself if nothing differs."""
        names = self.document.placement.names
        merged = {**self.masters, **{n: a for n, a in found.items() if n in names}}
        return self if merged == dict(self.masters) else replace(self, masters=merged)
