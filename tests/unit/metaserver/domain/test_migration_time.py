"""How long a move takes, and what clients feel of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cachemesh.core.placement import Placement, Shard, SlotsPlacement, moves
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.key_sample import BigKey, Estimate, exactly
from metaserver.domain.migration_time import MoveSpeed, Moving, blocked_by, felt, seconds
from metaserver.domain.planning import ChangePlan, plan_add

TWO = PoolDocument("cache", 3, SlotsPlacement.even([Shard("a"), Shard("b")]))
ADD = replace(plan_add(TWO, Shard("c"), "10.0.0.4:6379"), strategy="move")
SPEED = MoveSpeed("a", "c", keys_per_second=1000.0, value=100)


def moving(keys: float, size: int = 100) -> Moving:
    return Moving(exactly(keys), exactly(keys * size))


def circle() -> ChangePlan:
    """Return a plan whose keys move in a circle, and so in two stages."""
    before, after = (
        Placement.from_dict({"strategy": "modula", "hash": "md5", "shards": shards})
        for shards in ([{"name": name, "weight": 1} for name in names] for names in ("ab", "abc"))
    )
    document = TWO.replace(placement=before)
    turned = document.replace(placement=after)
    return ChangePlan("add c", document, turned, moves(before, after), strategy="move")


def test_sources_move_at_once_and_a_target_takes_all_one_by_one() -> None:
    there = {("a", "c"): moving(2000), ("b", "c"): moving(3000)}
    assert seconds(ADD, there, SPEED) == exactly(5)
    away = {("a", "c"): moving(2000), ("a", "b"): moving(3000)}
    assert seconds(ADD, away, SPEED) == exactly(5)


def test_bounds_are_those_of_the_keys() -> None:
    some = Moving(Estimate(2000, 1000, 4000), exactly(200_000))
    assert seconds(ADD, {("a", "c"): some}, SPEED) == Estimate(2, 1, 4)


def test_a_bound_on_the_pace_is_shared_by_the_sources() -> None:
    there = {("a", "c"): moving(2000), ("b", "c"): moving(3000)}
    assert seconds(replace(ADD, keys_per_second=200), there, SPEED) == exactly(30)
    assert seconds(replace(ADD, keys_per_second=10**6), there, SPEED) == exactly(5)


def test_larger_keys_than_those_that_were_tried_take_longer() -> None:
    assert seconds(ADD, {("a", "c"): moving(2000, size=300)}, SPEED) == exactly(6)
    assert seconds(ADD, {("a", "c"): moving(2000, size=30)}, SPEED) == exactly(2)


def test_stages_follow_one_another() -> None:
    both = {("a", "b"): moving(2000), ("b", "a"): moving(3000)}
    assert seconds(circle(), both, SPEED) == exactly(5)


def test_nothing_takes_no_time() -> None:
    assert seconds(ADD, {}, SPEED) == exactly(0)
    assert seconds(ADD, {("a", "c"): moving(0)}, MoveSpeed("a", "c", 1000, 0)) == exactly(0)


@pytest.mark.parametrize(("kind", "takes"), [("string", 0.01), ("hash", 0.1), ("", 0.1)])
def test_a_big_key_blocks_its_shards(kind: str, takes: float) -> None:
    assert blocked_by(BigKey(3_000_000, b"k", 0, "a", "c", kind)) == takes


def test_what_clients_feel() -> None:
    held, first = felt(ADD, [])
    assert "held for up to 100 ms" in held
    assert "a round trip between its shards more" in first
    assert "held before each of 2 stages for up to 100 ms" in felt(circle(), [])[0]
    big = [BigKey(30_000_000, b"k" * 100, 0, "a", "c", "zset"), BigKey(1, b"j", 0, "a", "c")]
    *_, blocked = felt(ADD, big)
    assert blocked.startswith("a and c serve nobody for about 1,000 ms while big key 'kkk")
    assert "k" * 41 not in blocked
    assert blocked.endswith("of 28.6 MiB is copied, and shorter for 1 smaller one")
