"""The laws of stages: no circle in any, and each key moves in one of them."""

from __future__ import annotations

from graphlib import TopologicalSorter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemesh.core.migration.stages import stages
from cachemesh.core.placement import Placement, Shard, SlotsPlacement, moves

NAMES = ["a", "b", "c", "d", "e"]
KEYS = [b"key:%d" % number for number in range(300)]
weights = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 5), min_size=1)


def shards(of: dict[str, int]) -> list[Shard]:
    return [Shard(name, weight) for name, weight in of.items()]


def placement(strategy: str, of: dict[str, int]) -> Placement:
    even = SlotsPlacement.even(shards(of))
    if strategy == "slots":
        return even
    return Placement.from_dict({**even.to_dict(), "strategy": strategy, "hash": "md5"})


@given(before=weights, after=weights, strategies=st.permutations(["slots", "ketama", "modula"]))
def test_no_stage_has_a_circle(
    before: dict[str, int], after: dict[str, int], strategies: list[str]
) -> None:
    p, q = placement(strategies[0], before), placement(strategies[1], after)
    for first, second in ((p, q), (p, p.with_shards(shards(after)))):
        found = stages(first, second)
        pairs = {(first.owner(key), second.owner(key)) for key in KEYS}
        for stage in range(2):
            graph = TopologicalSorter[str]()
            for source, target in pairs:
                if source != target and found.of(source, target) == stage:
                    assert stage < found.count
                    graph.add(target, source)
            graph.prepare()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"b": 1, "c": 1}, {"b": 1, "c": 1, "a": 1}),
        ({"a": 1, "b": 1, "c": 1}, {"a": 1, "c": 1}),
        ({"a": 1, "b": 5, "c": 1}, {"a": 5, "b": 1, "c": 5}),
    ],
    ids=["added", "removed", "weights"],
)
def test_a_resize_of_slots_has_one(before: dict[str, int], after: dict[str, int]) -> None:
    p = placement("slots", before)
    assert stages(p, p.with_shards(shards(after))).count == 1


def test_another_strategy_takes_two() -> None:
    p, q = placement("ketama", {"a": 1, "b": 1}), placement("slots", {"a": 1, "b": 1})
    found = stages(p, q)
    assert (found.count, found.of("a", "b"), found.of("b", "a")) == (2, 0, 1)


def test_nothing_moves() -> None:
    p = placement("slots", {"a": 1})
    assert stages(p, p).count == 0
    assert not moves(p, p).by_pair
