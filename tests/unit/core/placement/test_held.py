"""While a change of the placement is prepared, calls on keys that move are held, and no others."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachemesh.core.placement import Placement, Shard, SlotsPlacement
from cachemesh.core.placement.held import HeldPlacement
from cachemesh.core.placement.route_table import RouteTable
from cachemesh.core.planning.plan import plan
from cachemesh.core.rerouting import KeyHeldError

NAMES = ("a", "b", "c")
FIELDS: tuple[dict[str, Any], ...] = (
    {"strategy": "ketama"},
    {"strategy": "modula", "hash": "crc32", "hash_tag": "{}"},
    {"strategy": "jedis", "hash_tag": "{}"},
)


def placements() -> list[Placement]:
    """Return placements of each strategy, over two shards and over three."""
    made: list[Placement] = []
    for names in (NAMES[:2], NAMES):
        shards = [{"name": name, "weight": 1} for name in names]
        made += [Placement.from_dict({**fields, "shards": shards}) for fields in FIELDS]
    two = SlotsPlacement.even([Shard(name) for name in NAMES[:2]])
    return [*made, two, two.with_shards([Shard(name) for name in NAMES])]


PLACEMENTS = placements()


def test_a_split_call_is_held_on_a_pool_of_one_shard_too() -> None:
    one = SlotsPlacement.even([Shard("a")])
    holding = HeldPlacement(one, one.with_shards([Shard("a"), Shard("b")]))
    with pytest.raises(KeyHeldError):
        plan(("MGET", *(f"key-{number}" for number in range(32))), holding)


@pytest.mark.parametrize(("before", "after"), list(product(PLACEMENTS, PLACEMENTS)))
@given(keys=st.lists(st.binary(max_size=12) | st.just(b"{tag}x"), min_size=1, max_size=6))
@settings(deadline=None, max_examples=3)
def test_a_key_is_held_if_and_only_if_it_moves(
    before: Placement, after: Placement, keys: list[bytes]
) -> None:
    holding = HeldPlacement(before, after)
    route_table = RouteTable(holding, {name: [name] for name in before.names})
    moving = [key for key in keys if before.owner(key) != after.owner(key)]
    for key in keys:
        if key in moving:
            for find in (holding.owner, route_table.find):
                with pytest.raises(KeyHeldError):
                    find(key)
        else:
            assert holding.owner(key) == before.owner(key)
            assert route_table.find(key) == [before.owner(key)]
    if moving:
        with pytest.raises(KeyHeldError):
            holding.owners(keys)
    else:
        assert holding.owners(keys) == before.owners(keys)
    assert holding.to_dict() == before.to_dict() and holding.names == before.names
