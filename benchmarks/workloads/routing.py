"""Workloads without a server: what routing costs a client."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import Any

from benchmarks.arena import Arena
from benchmarks.measure import Contestant, Cost, timed
from cachemesh import CacheMesh
from cachemesh.core.names import Address
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.placement.route_table import RouteTable
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.pool.topology import Topology

SHARDS = (1, 4, 16, 100, 1000)
_URL = "cachemesh+file:///pool.json"  # never read: it is loaded with the first command
_KEYS = [f"object:{number}" for number in range(1, 1001)]


def entrant(shards: int) -> str:
    """Return the entrant's name for a number of shards."""
    return "1 shard" if shards == 1 else f"{shards:,} shards"


@dataclass(frozen=True)
class RoutingWorkload:
    """Work on a `slots` placement alone.

    Attributes:
        prepare: takes the number of shards; returns a function that takes the number of calls and
            returns a function that makes them.
    """

    name: str
    what: str
    prepare: Callable[[int], Callable[[int], Callable[[], Any]]]
    entrants: tuple[str, ...] = tuple(map(entrant, SHARDS))
    baseline: str | None = None
    floor: str | None = None
    step: int = 1
    spoils: bool = False

    def fixed_calls(self, seconds: float) -> int | None:
        return None

    def contestants(self, arena: Arena, entrants: Sequence[str]) -> dict[str, Contestant]:
        return {
            entrant(shards): partial(self._turn, self.prepare(shards))
            for shards in SHARDS
            if entrant(shards) in entrants
        }

    @staticmethod
    def _turn(prepare: Callable[[int], Callable[[], Any]], calls: int) -> Cost:
        work = prepare(calls)
        gc.collect()
        return timed(work)


def _placement(shards: int) -> SlotsPlacement:
    return SlotsPlacement.even([Shard(f"cache-{number}") for number in range(shards)])


def _found(shards: int) -> Callable[[int], Callable[[], Any]]:
    """Prepare what a client does with a key: encode it, and look up the shard."""
    placement = _placement(shards)
    find = RouteTable(placement, {name: f"shard {name}" for name in placement.names}).find
    for key in _KEYS:
        expected = f"shard {placement.shard_for(key)}"
        assert find(key.encode()) == expected, f"{key} is routed wrongly"

    def prepare(calls: int) -> Callable[[], Any]:
        keys = list(islice(cycle(_KEYS), calls))

        def work() -> None:
            for key in keys:
                find(key.encode())

        return work

    return prepare


def _named(shards: int) -> Callable[[int], Callable[[], Any]]:
    """Prepare calls of `shard_for`, which an app may make."""
    shard_for = _placement(shards).shard_for

    def prepare(calls: int) -> Callable[[], Any]:
        keys = list(islice(cycle(_KEYS), calls))

        def work() -> None:
            for key in keys:
                shard_for(key)

        return work

    return prepare


def _applied(fresh: bool, shards: int) -> Callable[[int], Callable[[], Any]]:
    """Prepare the application of pool documents in turn, so that each is new to the client."""
    document = PoolDocument("cache", 1, _placement(shards)).to_dict()
    news = [document["placement"], _grown(shards)]
    masters = [Address(f"10.0.{number >> 8}.{number & 255}", 6379) for number in range(shards)]

    def topology(placement: object) -> Topology:
        read = PoolDocument.from_dict({**document, "placement": placement})
        return Topology(read, dict(zip(read.placement.names, masters, strict=True)))

    def prepare(calls: int) -> Callable[[], Any]:
        clients = [CacheMesh.from_url(_URL) for _ in range(calls if fresh else 1)]
        if not fresh:
            clients[0]._core.apply(topology(news[-1]))

        def work() -> None:
            for client, placement in zip(cycle(clients), islice(cycle(news), calls), strict=False):
                client._core.apply(topology(placement))

        return work

    return prepare


def _grown(shards: int) -> dict[str, object]:
    """Return a placement in which one shard in a hundred was added later, from all others."""
    came = max(1, shards // 100)
    return _placement(max(1, shards - came)).with_shards(_placement(shards).shards).to_dict()


def workloads() -> list[RoutingWorkload]:
    """Return all workloads of this module."""
    return [
        RoutingWorkload("route", "slots placement: a key encoded and its shard found", _found),
        RoutingWorkload("route-shard-for", "slots placement: shard_for(key)", _named),
        RoutingWorkload("apply", "slots placement: a new topology", partial(_applied, False)),
        RoutingWorkload(
            "apply-first", "slots placement: a client's first topology", partial(_applied, True)
        ),
    ]
