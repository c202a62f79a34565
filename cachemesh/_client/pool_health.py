"""How a client and its pool do, as far as the client has seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cachemesh.core.pool.topology_health import TopologyHealth
from cachemesh.core.resilience.circuit_breaker import ShardHealth


@dataclass(frozen=True)
class PoolHealth(Mapping[str, ShardHealth]):
    """How each shard does, by name, and how current what the client routes by is.

    Attributes:
        shards: shard name -> how it does; the mapping itself is this one.
        topology: how current; None before the first use, and after `close`.
    """

    shards: Mapping[str, ShardHealth]
    topology: TopologyHealth | None

    def __getitem__(self, shard: str) -> ShardHealth:
        return self.shards[shard]

    def __iter__(self) -> Iterator[str]:
        return iter(self.shards)

    def __len__(self) -> int:
        return len(self.shards)
