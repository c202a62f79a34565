"""Changes of a topology: masters, replicas and shards."""

from __future__ import annotations

from cachemesh.core.names import Address
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.pool.topology import Topology

A, B, C = (Address("10.0.0.1", port) for port in (1, 2, 3))


def test_replicas_of_a_topology() -> None:
    document = PoolDocument("p", 1, SlotsPlacement.even([Shard("s"), Shard("t")]))
    topology = Topology(document, {"s": A, "t": C})
    with_replicas = topology.with_replicas({"s": (C, B, A, B), "foreign": (A,)})
    assert with_replicas.replicas == {"s": (B, C)}
    assert with_replicas.with_replicas({"s": (B, C)}) is with_replicas
    assert with_replicas.with_masters({"s": A}) is with_replicas
    assert with_replicas.with_masters({"s": B}).replicas == {"s": (C,)}, "one of them is master now"
    smaller = PoolDocument("p", 2, SlotsPlacement.even([Shard("t")]))
    assert with_replicas.with_document(smaller).replicas == {}
    assert with_replicas.with_document(smaller).masters == {"t": C}
