"""One SCAN cursor over shards misses nothing, whatever happens between two pages. No network."""

from __future__ import annotations

import random
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from cachemesh.core.errors import InvalidCursorError
from cachemesh.core.placement import JedisPlacement, Placement, Shard, SlotsPlacement
from cachemesh.core.planning.plan import plan
from cachemesh.core.planning.scan_cursor import (
    ScanPosition,
    next_cursor,
    placement_fingerprint,
    scan_position,
)

THREE = SlotsPlacement.even([Shard(f"cache-{i}") for i in range(3)])


class Pool:
    """Shards that hold keys and page through them, each in an order of its own, as servers do."""

    def __init__(self, keys: list[str], shards: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.keys = keys
        self.placement: Placement = SlotsPlacement.even([Shard(f"s{i}") for i in range(shards)])
        self.masters: dict[str, int] = {}
        self.orders: dict[str, list[str]] = {}
        self.arrange(self.placement.names)

    def arrange(self, names: tuple[str, ...]) -> None:
        """Let another instance serve these shards: the same keys in another order."""
        for name in names:
            self.masters[name] = self.random.getrandbits(32)
            owned = [key for key in self.keys if self.placement.shard_for(key) == name]
            self.orders[name] = self.random.sample(owned, len(owned))

    def resize(self, shards: int) -> None:
        self.placement = self.placement.with_shards([Shard(f"s{i}") for i in range(shards)])
        for name in self.placement.names:  # keys have moved; masters stayed
            owned = [key for key in self.keys if self.placement.shard_for(key) == name]
            kept = [key for key in self.orders.get(name, []) if key in owned]
            self.orders[name] = kept + [key for key in owned if key not in kept]
            self.masters.setdefault(name, self.random.getrandbits(32))

    def happen(self, event: int) -> None:
        names = self.placement.names
        if event < 4:
            self.arrange((names[event % len(names)],))
        elif event < 8:
            self.resize(event - 3)

    def page(self, cursor: Any, meanwhile: int) -> tuple[Any, list[str]]:
        planned = plan(("SCAN", cursor, "COUNT", 3), self.placement, master_of=self.masters.get)
        (request,) = planned.sub_requests
        start = request.args[1]
        found = self.orders[request.shard][start : start + 3]
        following = start + 3 if start + 3 < len(self.orders[request.shard]) else 0
        if meanwhile < 4:
            self.happen(meanwhile)
        following, found = planned.merge([[str(following).encode(), found]])
        return following, found


@given(
    st.sets(st.text("abcdefgh", min_size=1, max_size=4), max_size=40),
    st.integers(1, 5),
    st.integers(),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40),
)
def test_no_key_that_is_there_throughout_is_missed(
    keys: set[str], shards: int, seed: int, events: list[tuple[int, int]]
) -> None:
    pool = Pool(sorted(keys), shards, seed)
    seen: set[str] = set()
    cursor: Any = 0
    for between, meanwhile in [*events, *[(99, 99)] * 10_000]:
        cursor, found = pool.page(cursor, meanwhile)
        assert int(cursor) < 2**127
        seen.update(found)
        if int(cursor) == 0:
            break
        pool.happen(between)
    assert int(cursor) == 0, "it ends once nothing happens any more"
    assert seen == keys


def test_without_changes_each_shard_is_asked_for_each_page_once() -> None:
    pool = Pool([f"k{i}" for i in range(100)], 3, 0)
    found: list[str] = []
    cursor: Any = "0"
    while True:
        cursor, page = pool.page(cursor, 99)
        found += page
        if int(cursor) == 0:
            break
    assert sorted(found) == sorted(pool.keys)


def test_any_process_can_go_on_with_a_cursor() -> None:
    cursor = next_cursor(ScanPosition("cache-1", 0), 2**64 - 1, THREE, "h:1", "h:1")
    assert cursor < 2**127
    copy = Placement.from_dict(THREE.to_dict())
    for form in (cursor, str(cursor), str(cursor).encode()):
        assert scan_position(form, copy, lambda _: "h:1") == ScanPosition("cache-1", 2**64 - 1)


def test_after_a_failover_only_that_shard_begins_again() -> None:
    cursor = next_cursor(ScanPosition("cache-1", 0), 77, THREE, "h:1", "h:1")
    assert scan_position(cursor, THREE, lambda _: "h:2") == ScanPosition("cache-1", 0)
    cursor = next_cursor(ScanPosition("cache-1", 77), 0, THREE, "h:1", "h:2")
    assert scan_position(cursor, THREE, lambda _: "h:2") == ScanPosition("cache-1", 0)
    cursor = next_cursor(ScanPosition("cache-1", 77), 0, THREE, "h:2", "h:2")
    assert scan_position(cursor, THREE, lambda _: "h:9") == ScanPosition("cache-2", 0)
    assert next_cursor(ScanPosition("cache-2", 77), 0, THREE, "h:9", "h:9") == 0


def test_after_a_resize_it_begins_again() -> None:
    cursor = next_cursor(ScanPosition("cache-2", 0), 77, THREE, "h:1", "h:1")
    for names in (2, 3, 4):
        other = THREE.with_shards([Shard(f"cache-{i}", weight=i + 1) for i in range(names)])
        assert scan_position(cursor, other, lambda _: "h:1") == ScanPosition("cache-0", 0)


def test_placements_are_told_apart() -> None:
    placements = [SlotsPlacement.even([Shard(f"s{i}") for i in range(n)]) for n in range(1, 40)]
    placements.append(placements[2].with_shards(placements[5].shards))
    prints = [placement_fingerprint(placement) for placement in placements]
    assert len(set(prints)) == len(placements)
    jedis = JedisPlacement(THREE.shards, {"named": True}, {})
    assert placement_fingerprint(jedis) != placement_fingerprint(THREE)


@pytest.mark.parametrize(
    "cursor",
    [5, -1, 2**126 - 1, 2**127, 2**300, "x", b"\xff", "", "1" * 5000, None, 1.0, True, [], "٣x"],
)
def test_a_cursor_from_elsewhere_is_refused(cursor: Any) -> None:
    with pytest.raises(InvalidCursorError, match="begin with 0") as caught:
        plan(("SCAN", cursor), THREE)
    assert isinstance(caught.value, redis.ResponseError)
    assert len(str(caught.value)) < 200


def test_a_servers_cursor_that_is_none_is_noticed() -> None:
    with pytest.raises(redis.InvalidResponse, match="cache-0"):
        next_cursor(ScanPosition("cache-0", 0), 2**64, THREE, "h:1", "h:1")


def test_the_cursor_comes_as_the_server_sends_it() -> None:
    planned = plan(("SCAN", 0, "MATCH", "a*", "TYPE", "hash"), THREE)
    assert planned.sub_requests[0].args == ("SCAN", 0, "MATCH", "a*", "TYPE", "hash")
    assert isinstance(planned.merge([[b"5", []]])[0], bytes)
    assert isinstance(planned.merge([["5", []]])[0], str)
    assert plan(("SCAN",), THREE).sub_requests[0].args == ("SCAN",), (
        "the server says what is missing"
    )
