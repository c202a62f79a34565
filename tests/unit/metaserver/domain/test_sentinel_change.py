"""What may be changed of a pool's Sentinels, and what a change leaves to be told."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.errors import RequestRefused
from metaserver.domain.planning import quorum_of
from metaserver.domain.sentinel_change import (
    MOST,
    SentinelChange,
    change_of,
    forgotten_replicas,
    plan_add_sentinel,
    plan_remove_sentinel,
    require_removable,
    reservations,
    with_change,
)
from metaserver.domain.sentinel_view import MonitoredShard, SentinelView


def pool(*sentinels: str) -> PoolDocument:
    placement = SlotsPlacement.even([Shard("cache-0")])
    return PoolDocument("cache", 4, placement, sentinels=sentinels, extra={"quorum": 2, "x": 1})


def view(address: str, *flags: str, master: str = "m:1", error: str | None = None) -> SentinelView:
    shard = MonitoredShard(master, "", frozenset(("master", *flags)), 2, 3, True, "", ("r:1",), {})
    return SentinelView(address, error, {} if error else {"cache-0": shard})


def views(*given: SentinelView) -> Mapping[str, SentinelView]:
    return {each.address: each for each in given}


def after_adding(document: PoolDocument, sentinel: str) -> PoolDocument:
    after = plan_add_sentinel(document, sentinel).after
    assert after is not None
    return after


def after_removing(document: PoolDocument, sentinel: str, *, told: bool) -> PoolDocument:
    after = plan_remove_sentinel(document, sentinel, told=told).after
    assert after is not None
    return after


def test_the_quorum_is_a_majority_of_the_new_number() -> None:
    four = after_adding(pool("a:1", "b:1", "c:1"), "d:1")
    five = after_adding(four, "e:1")
    assert (quorum_of(four), quorum_of(five)) == (3, 3)
    assert quorum_of(after_removing(pool("a:1", "b:1"), "a:1", told=True)) == 1
    assert five.sentinels == ("a:1", "b:1", "c:1", "d:1", "e:1")
    assert five.extra["x"] == 1


def test_what_is_left_of_one_change_is_not_lost_with_the_next() -> None:
    three = pool("a:1", "b:1", "c:1")
    two = after_removing(three, "a:1", told=True)
    assert change_of(two) == SentinelChange(("a:1",), reset=True)
    again = PoolDocument.from_json(after_adding(two, "d:1").to_json())
    assert change_of(again) == SentinelChange(("a:1",), reset=True)
    assert change_of(after_adding(again, "a:1")) == SentinelChange((), reset=True)
    gone = after_removing(again, "b:1", told=False)
    assert change_of(gone) == SentinelChange(("a:1",), reset=True)
    assert change_of(with_change(gone, None)) is None


@pytest.mark.parametrize("kept", [[], "x", {"tell": 3}, {}])
def test_a_change_that_cannot_be_read_is_told_again(kept: object) -> None:
    document = pool("a:1", "b:1").replace(extra={"sentinel_change": kept})
    assert change_of(document) == SentinelChange((), reset=True)


def test_who_is_no_sentinel_of_the_pool_or_the_last_one_stays() -> None:
    three = pool("a:1", "b:1", "c:1")
    with pytest.raises(RequestRefused, match="has the Sentinel a:1 already"):
        plan_add_sentinel(three, "a:1")
    with pytest.raises(RequestRefused, match="none may have more"):
        plan_add_sentinel(pool(*(f"s{n}:1" for n in range(MOST))), "a:1")
    with pytest.raises(RequestRefused, match="has no Sentinel"):
        plan_remove_sentinel(three, "d:1", told=True)
    with pytest.raises(RequestRefused, match="the last Sentinel"):
        plan_remove_sentinel(pool("a:1"), "a:1", told=True)


def test_one_that_does_not_answer_is_removed_by_force_alone() -> None:
    three = pool("a:1", "b:1", "c:1")
    seen = views(view("a:1", error="refused"), view("b:1"), view("c:1"))
    with pytest.raises(RequestRefused, match="a:1 does not answer"):
        require_removable(three, "a:1", seen, force=False)
    require_removable(three, "a:1", seen, force=True)


def test_where_too_few_others_answer_none_is_removed() -> None:
    three = pool("a:1", "b:1", "c:1")
    seen = views(view("a:1"), view("b:1", error="refused"), view("c:1"))
    with pytest.raises(RequestRefused, match="nothing would fail over, which takes 2"):
        require_removable(three, "a:1", seen, force=False)
    require_removable(three, "a:1", seen, force=True)
    nobody = views(view("a:1"), view("b:1", error="x"), view("c:1", error="x"))
    with pytest.raises(RequestRefused, match="0 answer"):
        require_removable(three, "a:1", nobody, force=True)


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (view("c:1", "s_down"), "c:1 takes its master for down"),
        (view("c:1", "failover_in_progress"), "c:1 fails it over"),
        (view("c:1", master="m:2"), "different masters"),
    ],
)
def test_none_is_removed_while_a_master_is_down(odd: SentinelView, why: str) -> None:
    three = pool("a:1", "b:1", "c:1")
    with pytest.raises(RequestRefused, match=why):
        require_removable(three, "a:1", views(view("a:1"), view("b:1"), odd), force=True)


def test_replicas_that_do_not_answer_are_told_before_they_are_forgotten() -> None:
    replicas = [{"address": "r:1", "up": True}, {"address": "r:2", "up": False}]
    (told,) = forgotten_replicas([{"name": "cache-0", "replicas": replicas}])
    assert told.startswith("r:2, a replica of cache-0 that does not answer")


def test_numbers_that_are_no_good_are_told() -> None:
    assert reservations(pool("a:1", "b:1", "c:1")) == []
    assert "have three" in reservations(pool("a:1"))[0]
    (told,) = reservations(pool("a:1", "b:1", "c:1", "d:1"))
    assert "no more may be away (1) than of 3" in told
