"""What a membership calls, on all the cores that share it.

The cores are not kept alive by that: the threads which follow the pool hold on to a membership.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import redis

from cachemesh.core.errors import CacheMeshError
from cachemesh.core.pool.topology import Topology
from cachemesh.core.quality.report import ShardQuality, merged

if TYPE_CHECKING:
    from cachemesh._client.core import MeshCore

Mates = Mapping[int, "weakref.ref[MeshCore[Any]]"]
"""The cores that share a membership, by the `id` of each."""


def apply_to(mates: Mates) -> Callable[[Topology], None]:
    """Return what has cores apply a topology; it raises the first error, once all were told."""

    def on_change(topology: Topology) -> None:
        failures: list[Exception] = []
        for core in _present(mates):
            closings = core.closings
            if core.route_table is not None:
                try:
                    core.apply(topology, closings)
                except (CacheMeshError, redis.RedisError, OSError, RuntimeError) as error:
                    failures.append(error)
        if failures:
            raise failures[0]

    return on_change


def drained_of(mates: Mates) -> Callable[[], bool]:
    """Return what tells whether all cores are drained."""

    def drained() -> bool:
        return all(core.drained() for core in _present(mates))

    return drained


def felt_by(mates: Mates) -> Callable[[], Mapping[str, ShardQuality]]:
    """Return what tells the quality that the cores have felt since its last call."""

    def felt() -> Mapping[str, ShardQuality]:
        return merged(
            {
                name: shard.quality.since_last(shard.health().breaker)
                for name, shard in core.shards().items()
            }
            for core in _present(mates)
        )

    return felt


def _present(mates: Mates) -> list[MeshCore[Any]]:
    return [core for mate in list(mates.values()) if (core := mate()) is not None]
