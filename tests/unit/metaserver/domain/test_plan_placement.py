"""Plans of another placement of the same shards: slots dealt evenly again, or another strategy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.placement import Placement, Shard, SlotsPlacement
from cachemesh.core.placement.keys import SLOT_COUNT
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.errors import RequestRefused
from metaserver.domain.planning import ChangePlan, keys_moved, plan_placement, what_is_lost

WEIGHTS = {"a": 1, "b": 3, "c": 2}
LABELS = {"a": "10.0.0.1:6379"}
KETAMA = {"strategy": "ketama", "hash": "md5", "hash_tag": "{}"}


def pool(placement: Placement) -> PoolDocument:
    return PoolDocument("cache", 3, placement, sentinels=("10.0.0.9:26379",))


def of(strategy: str, **fields: Any) -> PoolDocument:
    shards = [{"name": name, "weight": weight} for name, weight in WEIGHTS.items()]
    return pool(Placement.from_dict({"strategy": strategy, **fields, "shards": shards}))


def even() -> PoolDocument:
    return pool(SlotsPlacement.even([Shard(name, weight) for name, weight in WEIGHTS.items()]))


def placement_after(plan: ChangePlan) -> Placement:
    assert plan.after is not None
    return plan.after.placement


@st.composite
def dealt_anyhow(draw: st.DrawFn) -> PoolDocument:
    """Generate a pool whose slots were dealt in any way."""
    weights = draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    ends = sorted(draw(st.sets(st.integers(1, SLOT_COUNT - 1), max_size=12)))
    owner = st.integers(0, len(weights) - 1)
    owners: list[int] = []
    for end in (*ends, SLOT_COUNT):
        owners += [draw(owner)] * (end - len(owners))
    shards = [Shard(f"s{number}", weight) for number, weight in enumerate(weights)]
    return pool(SlotsPlacement(shards, owners, {}))


@given(dealt_anyhow())
def test_slots_are_dealt_within_one_slot_of_balance_and_as_few_as_possible_move(
    before: PoolDocument,
) -> None:
    assert isinstance(before.placement, SlotsPlacement)
    had = before.placement.slot_counts()
    plan = plan_placement(before, None, {})
    after = placement_after(plan)
    assert isinstance(after, SlotsPlacement)
    total = sum(shard.weight for shard in after.shards)
    most_gives = most_takes = 0
    for shard in after.shards:
        least, rest = divmod(SLOT_COUNT * shard.weight, total)
        most = least + (rest > 0)
        assert least <= after.slot_counts()[shard.name] <= most
        most_gives += max(0, had[shard.name] - most)
        most_takes += max(0, least - had[shard.name])
    assert plan.moves.slots == max(most_gives, most_takes)
    assert plan_placement(pool(after), None, {}).changes_nothing


@pytest.mark.parametrize(
    "fields", [None, {"strategy": "slots"}, {"strategy": "slots", "hash": "crc16"}]
)
def test_even_slots_stay(fields: dict[str, Any] | None) -> None:
    plan = plan_placement(even(), fields, {})
    assert plan.changes_nothing
    assert plan.summary == "deal the slots evenly by weight again"


@pytest.mark.parametrize("strategy", ["ketama", "modula", "jedis"])
def test_other_strategies_have_nothing_to_deal(strategy: str) -> None:
    plan = plan_placement(of(strategy), None, {})
    assert plan.changes_nothing
    assert f"by {strategy} there is nothing to deal" in plan.summary


@pytest.mark.parametrize("strategy", ["ketama", "modula", "jedis"])
def test_a_pool_of_another_program_becomes_slots_and_that_again(strategy: str) -> None:
    before = of(strategy)
    plan = plan_placement(before, {"strategy": "slots"}, {})
    assert placement_after(plan) == even().placement
    assert plan.losers == plan.gainers == ("a", "b", "c")
    assert plan.moves.sampled and plan.moves_keys
    assert plan.summary.startswith(f"place keys by slots instead of {strategy} (hash ")
    back = plan_placement(even(), before.placement.to_dict() | {"shards": []}, {})
    assert placement_after(back) == before.placement


def test_hash_tag_and_labels_are_those_given() -> None:
    plan = plan_placement(even(), KETAMA, LABELS)
    assert plan.summary == "place keys by ketama (hash md5, hash tag {}) instead of slots"
    document = placement_after(plan).to_dict()
    assert document == {
        **KETAMA,
        "shards": [
            {"name": "a", "weight": 1, "label": "10.0.0.1:6379"},
            {"name": "b", "weight": 3},
            {"name": "c", "weight": 2},
        ],
    }
    assert plan.after is not None
    assert "label" not in str(placement_after(plan_placement(plan.after, KETAMA, {})).to_dict())


def test_fields_of_later_releases_stay() -> None:
    before: dict[str, Any] = even().placement.to_dict() | {"of_the_future": 1}
    before["shards"][0]["zone"] = "z"
    plan = plan_placement(pool(Placement.from_dict(before)), KETAMA, LABELS)
    document: Any = placement_after(plan).to_dict()
    assert document["of_the_future"] == 1
    assert document["shards"][0] == {"name": "a", "weight": 1, "zone": "z", "label": LABELS["a"]}
    assert "slots" not in document["shards"][1]


@pytest.mark.parametrize(
    ("fields", "labels", "message"),
    [
        ({"strategy": "slots", "hash": "md5"}, {}, "placement.hash"),
        ({"strategy": "slots"}, LABELS, "label has no meaning"),
        ({"strategy": "ketama", "named": False}, {}, "named is only for strategy 'jedis'"),
        ({"strategy": "ketama", "hash": "sha1"}, {}, "placement.hash"),
        ({"strategy": "ketama", "hash_tag": "{"}, {}, "placement.hash_tag"),
        ({"strategy": "ketama"}, {"a": "b"}, "same label"),
    ],
)
def test_a_placement_that_cannot_be(
    fields: dict[str, Any], labels: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidDocumentError, match=message):
        plan_placement(even(), fields, labels)


def test_a_label_for_a_shard_that_is_not_there() -> None:
    with pytest.raises(RequestRefused, match="no shard 'd'; its shards are a, b, c") as caught:
        plan_placement(even(), KETAMA, {"d": "x"})
    assert caught.value.code == "invalid-content"


def test_another_hash_tag_may_move_keys_though_none_of_those_tried_does() -> None:
    plan = replace(plan_placement(of("ketama", hash="md5"), KETAMA, {}), strategy="drop")
    assert not plan.moves.by_pair
    assert plan.moves_keys
    assert keys_moved(plan, {"a": 5, "b": 5, "c": 5}) is None
    assert keys_moved(plan, {"a": 0, "b": 0, "c": 0}) == 0
    assert what_is_lost(plan, {}) == [
        "an unknown number of cached keys (under 1%) go cold: their shard changes and strategy "
        "'drop' copies nothing"
    ]
    assert what_is_lost(plan, {"a": 0, "b": 0, "c": 0}) == []
