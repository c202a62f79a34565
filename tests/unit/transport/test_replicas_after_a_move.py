"""Which replicas are read once all keys have moved, though this client has not pulled them."""

from __future__ import annotations

import time

from cachemesh import CacheMesh
from cachemesh.core.migration.phase import Migration
from cachemesh.core.names import Address
from cachemesh.core.placement import Placement, Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.pool.topology import Topology
from cachemesh.core.reads.read_preference import Reading
from tests.support.waiting import until

MASTERS = {"cache-0": Address("127.0.0.1", 1), "cache-1": Address("127.0.0.1", 2)}
REPLICA = Address("127.0.0.1", 3)


def await_later() -> None:
    """Wait until the clock has gone on: what is noted at one moment is in no order."""
    noted = time.monotonic()
    until(lambda: time.monotonic() > noted)


def test_a_replica_that_lacks_what_others_have_moved_is_not_read() -> None:
    before = SlotsPlacement.even([Shard("cache-0")])
    after = before.with_shards([Shard("cache-0"), Shard("cache-1")])
    key = next(k for k in (b"%d" % n for n in range(99)) if after.owner(k) == "cache-1")
    core = CacheMesh.from_url("cachemesh+file:///nowhere/cache.json")._core
    core.reads_replicas = True

    def tell(version: int, placement: Placement, migration: Migration | None) -> None:
        told = None if migration is None else migration.to_dict()
        document = PoolDocument("cache", version, placement, told, ("127.0.0.1:4",))
        topology = Topology(document).with_masters(MASTERS)
        core.apply(topology.with_replicas({"cache-1": (REPLICA,)}))

    def read_from() -> list[Address]:
        assert core.route_table is not None
        shard = core.route_table.find(key)
        assert shard.name == "cache-1"
        order = shard.readable(Reading("prefer_replica"), [key], time.monotonic())
        return [instance.address for instance in order]

    tell(1, before, None)
    core.shards()["cache-0"].wrote([key], time.monotonic())  # this client's own write
    tell(2, before, Migration("prepare", after, moves=True))
    await_later()
    meter = core.shards()["cache-1"].meter
    meter.master_at(MASTERS["cache-1"], "history", time.monotonic(), 100)
    meter.replica_at(REPLICA, "history", 100)  # it had all, as keys began to move, and lags now
    tell(3, before, Migration("move", after, moves=True))
    await_later()
    meter.master_at(MASTERS["cache-1"], "history", time.monotonic(), 200)  # the key was moved there
    tell(4, before, Migration("move", after, moves=True, done=frozenset({"cache-0"})))
    assert read_from() == [MASTERS["cache-1"]]
    tell(5, after, None)
    assert read_from() == [MASTERS["cache-1"]]


def test_a_write_under_way_as_a_resize_is_prepared_is_not_missed_at_a_replica() -> None:
    placement = SlotsPlacement.even([Shard("cache-0")])
    after = placement.with_shards([Shard("cache-0"), Shard("cache-1")])
    core = CacheMesh.from_url("cachemesh+file:///nowhere/cache.json")._core
    core.reads_replicas = True

    def tell(version: int, migration: Migration | None) -> None:
        told = None if migration is None else migration.to_dict()
        document = PoolDocument("cache", version, placement, told, ("127.0.0.1:4",))
        topology = Topology(document).with_masters(MASTERS)
        core.apply(topology.with_replicas({"cache-0": (REPLICA,)}))

    def read_from() -> list[Address]:
        shard = core.shards()["cache-0"]
        order = shard.readable(Reading("prefer_replica"), [b"key"], time.monotonic())
        return [instance.address for instance in order]

    tell(1, None)
    former = core.shards()["cache-0"]
    tell(2, Migration("prepare", after, moves=True))
    assert former.retired
    await_later()
    meter = core.shards()["cache-0"].meter
    meter.master_at(MASTERS["cache-0"], "history", time.monotonic(), 100)
    meter.replica_at(REPLICA, "history", 100)
    assert REPLICA in read_from()
    await_later()
    former.wrote([b"key"], time.monotonic())  # as its reply comes
    assert read_from() == [MASTERS["cache-0"]]
