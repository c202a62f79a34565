"""Plans of changes: what a change would do, without servers."""

from __future__ import annotations

from typing import Any

import pytest

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.placement import Shard, SlotsPlacement, moves
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.errors import RequestRefused
from metaserver.domain.planning import (
    ChangePlan,
    keys_moved,
    plan_add,
    plan_create,
    plan_delete,
    plan_remove,
    plan_settings,
    plan_weight,
    quorum_of,
    what_is_lost,
)

SENTINELS = ("10.0.0.1:26379", "10.0.0.2:26379", "10.0.0.3:26379")


def pool(*shards: Shard, **more: Any) -> PoolDocument:
    return PoolDocument("cache", 3, SlotsPlacement.even(shards), sentinels=SENTINELS, **more)


TWO = pool(Shard("a"), Shard("b"))


def slots(plan: ChangePlan) -> dict[str, int]:
    assert plan.after is not None
    assert isinstance(plan.after.placement, SlotsPlacement)
    return plan.after.placement.slot_counts()


def problem(code: str, change: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        change()
    assert caught.value.code == code
    return caught.value


def test_a_new_pool_deals_slots_by_weight() -> None:
    plan = plan_create("cache", SENTINELS, [Shard("a"), Shard("b", 3)])
    assert slots(plan) == {"a": 4096, "b": 12288}
    assert plan.moves.slots == 0
    assert plan.after is not None
    assert quorum_of(plan.after) == 2


def test_a_new_pool_may_place_keys_as_another_program_does() -> None:
    fields = {"strategy": "ketama", "hash": "murmur", "hash_tag": "{}"}
    shards = [Shard("a"), Shard("b", 3)]
    plan = plan_create("cache", SENTINELS, shards, placement=fields, labels={"a": "10.0.0.1:6379"})
    assert plan.summary == "create pool cache by ketama with 2 shards: a, b"
    assert plan.after is not None
    assert plan.after.placement.to_dict() == {
        **fields,
        "shards": [
            {"name": "a", "weight": 1, "label": "10.0.0.1:6379"},
            {"name": "b", "weight": 3},
        ],
    }
    grown = plan_add(plan.after, Shard("c"), "10.0.0.9:6379")
    assert grown.losers == ("a", "b")
    assert grown.moves.slots == 0
    assert keys_moved(grown, {"a": 1000, "b": 3000}) == pytest.approx(1000, abs=500)
    assert keys_moved(grown, {"a": None, "b": 3000}) is None
    assert "their shard changes" in what_is_lost(grown, {"a": 1000, "b": 3000})[0]


@pytest.mark.parametrize(
    ("fields", "labels", "message"),
    [
        ({"strategy": "slots", "hash": "md5"}, {}, "placement.hash"),
        ({"strategy": "slots"}, {"a": "x"}, "label has no meaning"),
        ({"named": False}, {}, "named is only for strategy 'jedis'"),
        ({"strategy": "modula", "named": False}, {}, "named is only for strategy 'jedis'"),
        ({"strategy": "jedis", "named": False}, {"a": "x"}, "placement.named is false"),
        ({"strategy": "jedis", "hash": "crc16"}, {}, "placement.hash"),
    ],
)
def test_a_new_pool_checks_its_placement(
    fields: dict[str, Any], labels: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidDocumentError, match=message):
        plan_create("cache", SENTINELS, [Shard("a")], placement=fields, labels=labels)


def test_after_sampled_moves_every_shard_counts_as_losing_and_gaining() -> None:
    before = pool(Shard("a"), Shard("b"))
    after = plan_create("cache", SENTINELS, [Shard("a")], placement={"strategy": "jedis"}).after
    assert after is not None
    plan = ChangePlan("take over", before, after, moves(before.placement, after.placement))
    assert plan.losers == ("a", "b")
    assert plan.gainers == ("a",)


@pytest.mark.parametrize(
    ("sentinels", "quorum", "expected"),
    [(3, None, 2), (5, None, 3), (1, None, 1), (3, 1, 1), (3, 3, 3)],
)
def test_quorum(sentinels: int, quorum: int | None, expected: int) -> None:
    addresses = [f"10.0.0.{n}:26379" for n in range(sentinels)]
    plan = plan_create("cache", addresses, [Shard("a")], quorum=quorum)
    assert plan.after is not None
    assert quorum_of(plan.after) == expected


def test_quorum_of_a_document_without_one_is_a_majority() -> None:
    assert quorum_of(TWO) == 2
    assert quorum_of(TWO.replace(extra={"quorum": "many"})) == 2


def test_a_quorum_above_the_number_of_sentinels_is_refused() -> None:
    refused = problem(
        "invalid-content", lambda: plan_create("cache", SENTINELS, [Shard("a")], quorum=4)
    )
    assert "quorum" in str(refused)


def test_a_sentinel_given_twice_is_refused() -> None:
    problem("invalid-content", lambda: plan_create("cache", SENTINELS[:1] * 2, [Shard("a")]))


def test_a_new_pool_checks_its_settings() -> None:
    with pytest.raises(InvalidDocumentError, match="command_timeout"):
        plan_create("cache", SENTINELS, [Shard("a")], settings={"command_timeout": -1})


def test_adding_moves_slots_only_to_the_new_shard() -> None:
    plan = plan_add(TWO, Shard("c"), "10.0.0.9:6379")
    assert plan.gainers == ("c",)
    assert plan.losers == ("a", "b")
    assert plan.moves.slots == slots(plan)["c"] == 5461
    assert plan.summary == "add shard c (10.0.0.9:6379), weight 1"


def test_adding_a_name_that_is_there_is_refused() -> None:
    assert "'a'" in str(problem("shard-exists", lambda: plan_add(TWO, Shard("a"), "x:1")))


def test_removing_moves_all_of_its_slots_and_no_others() -> None:
    three = pool(Shard("a"), Shard("b"), Shard("c"))
    plan = plan_remove(three, "b")
    assert plan.losers == ("b",)
    assert plan.gainers == ("a", "c")
    assert slots(plan) == {"a": 8192, "c": 8192}


def test_the_last_shard_stays() -> None:
    problem("last-shard", lambda: plan_remove(pool(Shard("a")), "a"))


@pytest.mark.parametrize(
    "change", [lambda: plan_remove(TWO, "nobody"), lambda: plan_weight(TWO, "nobody", 2)]
)
def test_a_shard_that_is_not_there(change: Any) -> None:
    assert "'nobody'" in str(problem("shard-not-found", change))


def test_a_higher_weight_takes_slots() -> None:
    plan = plan_weight(TWO, "a", 3)
    assert plan.gainers == ("a",)
    assert plan.losers == ("b",)
    assert slots(plan) == {"a": 12288, "b": 4096}
    assert "from 1 to 3" in plan.summary


@pytest.mark.parametrize("weight", [0, -1, 1001, True, 1.5, 1.0, "2", None])
def test_a_weight_that_is_none(weight: Any) -> None:
    with pytest.raises(InvalidDocumentError, match="eight"):
        plan_weight(TWO, "a", weight)


def test_the_same_weight_changes_nothing() -> None:
    assert plan_weight(TWO, "a", 1).changes_nothing
    assert not plan_weight(pool(Shard("a")), "a", 2).changes_nothing


def test_settings_are_set_reset_and_kept() -> None:
    before = pool(Shard("a"), settings={"command_timeout": 1.0, "of_the_future": 7})
    plan = plan_settings(before, {"command_timeout": None, "poll_interval": 2})
    assert plan.after is not None
    assert plan.after.settings == {"of_the_future": 7, "poll_interval": 2}
    assert plan.moves.slots == 0
    assert "command_timeout to its default" in plan.summary


@pytest.mark.parametrize(
    "changes", [{"command_timeout": 0}, {"command_timeout": True}, {"no_such_setting": 1}]
)
def test_settings_that_are_none(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocumentError, match=next(iter(changes))):
        plan_settings(TWO, changes)


def test_unknown_fields_of_the_document_stay() -> None:
    future = pool(Shard("a"), Shard("b"), extra={"of_the_future": {"x": 1}})
    for plan in (plan_add(future, Shard("c"), "x:1"), plan_remove(future, "a")):
        assert plan.after is not None
        assert plan.after.extra == {"of_the_future": {"x": 1}}


def test_keys_moved_follow_the_share_of_slots_that_move() -> None:
    plan = plan_add(TWO, Shard("c"), "x:1")
    assert keys_moved(plan, {"a": 900, "b": 300}) == pytest.approx(400, abs=2)
    assert keys_moved(plan, {"a": 900, "b": None}) is None
    assert keys_moved(plan, {"a": 900}) is None
    assert keys_moved(plan_remove(TWO, "a"), {"a": 900}) == 900


def test_what_is_lost_is_said() -> None:
    plan = plan_remove(TWO, "a")
    assert what_is_lost(plan, {"a": 12345, "b": 1}) == [
        "about 12,345 cached keys (50%) go cold: their slots move and strategy 'drop' "
        "copies nothing"
    ]
    assert what_is_lost(plan, {"a": 1}) == [
        "about 1 cached key (50%) goes cold: its slot moves and strategy 'drop' copies nothing"
    ]
    assert "unknown number" in what_is_lost(plan, {})[0]
    assert what_is_lost(plan, {"a": 0}) == []
    assert what_is_lost(plan_settings(TWO, {"poll_interval": 2}), {}) == []
    assert "gone for every client" in what_is_lost(plan_delete(TWO), {"a": 1})[0]
