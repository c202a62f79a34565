"""Which shards are listed, in which order, and which with details."""

from __future__ import annotations

from typing import Any

import pytest

from dashboard.feed import PoolSnapshot
from dashboard.shard_list import SMALL_POOL, ListedShards, ListOptions, listed
from dashboard.view import board
from dashboard.view_model import Felt
from tests.support.pool_statuses import instance, pool_of, shard, status


def show(news: dict[str, Any], felts: dict[str, Felt] | None = None, **query: str) -> ListedShards:
    shards = board("cache", PoolSnapshot(status=news)).shards
    return listed(shards, ListOptions.asked(query, len(shards)), felts or {})


def names(shown: ListedShards) -> list[str]:
    return [each.name for each in shown.shards]


def test_the_worst_come_first_and_equals_stay_in_the_pools_order() -> None:
    news = pool_of(9, cache_1="joining", cache_3="degraded", cache_4="down", cache_6="failing over")
    news["shards"][7]["state"] = "moonlit"  # of a release to come
    news["shards"][8]["state"] = "down"
    order = [4, 8, 3, 6, 7, 1, 0, 2, 5]
    assert names(show(news)) == [f"cache-{number}" for number in order]


def test_counts_are_of_the_whole_pool_whatever_is_shown() -> None:
    shown = show(pool_of(40, cache_7="down", cache_9="down", cache_2="degraded"), state="down")
    assert names(shown) == ["cache-7", "cache-9"]
    assert shown.counts == (("down", 2), ("degraded", 1), ("up", 37))
    assert shown.total == 40


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("CACHE-3", [3, *range(30, 40)]),
        ("10.0.0.12:", [12]),
        ("down", [5]),
        ("cache up 10.0.0.39", [39]),
        ("nothing", []),
    ],
)
def test_all_words_are_looked_for_in_names_addresses_and_states(
    query: str, found: list[int]
) -> None:
    shown = show(pool_of(40, cache_5="down"), q=query)
    assert names(shown) == [f"cache-{number}" for number in found]


def test_figures_sort_both_ways_and_what_is_not_known_comes_last() -> None:
    masters = [instance(f"h:{number}", keys=number * 10) for number in range(3)]
    news = status(*(shard(f"s{at}", 0.25, each) for at, each in enumerate(masters)))
    news["shards"].insert(0, shard("gone", 0.25, {"address": "h:9", "up": False}))
    assert names(show(news, sort="-keys")) == ["s2", "s1", "s0", "gone"]
    assert names(show(news, sort="keys")) == ["s0", "s1", "s2", "gone"]


def test_names_sort_as_people_count() -> None:
    news = status(*(shard(name, 0.2, instance("h:1")) for name in ("b-10", "b-9", "a", "b", "9")))
    assert names(show(news, sort="name")) == ["9", "a", "b", "b-9", "b-10"]
    assert names(show(news, sort="-name")) == ["b-10", "b-9", "b", "a", "9"]


def test_replicas_that_do_not_follow_are_the_furthest_behind() -> None:
    copies = [
        [instance("r:1", role="replica", link="up", lag_bytes=9, lag_seconds=0)],
        [instance("r:2", role="replica", link="down", lag_bytes=None, lag_seconds=3)],
        [instance("r:3", role="replica", link="up", lag_bytes=0, lag_seconds=7)],
        [],
    ]
    news = status(*(shard(f"s{at}", 0.25, instance("h:1"), *c) for at, c in enumerate(copies)))
    assert names(show(news, sort="-lag")) == ["s1", "s2", "s0", "s3"]


def test_what_apps_felt_sorts_too() -> None:
    slow = Felt(1.0, 0.5, (), 0.1, 0.9, 0, 0)
    quick = Felt(9.0, 0.0, (), 0.001, 0.002, 0, 0)
    felts = {"cache-1": quick, "cache-2": slow}
    assert names(show(pool_of(4), felts, sort="-p99"))[:2] == ["cache-2", "cache-1"]
    assert names(show(pool_of(4), felts, sort="errors"))[:2] == ["cache-1", "cache-2"]


def test_what_a_url_asks_and_nobody_can_give_is_left_out() -> None:
    options = ListOptions.of({"sort": "-colour", "state": "blue", "q": f" a  {'b' * 300}"})
    assert (options.sort, options.state) == ("", "")
    assert options.query == f"a {'b' * 196}"
    assert ListOptions.of({}).url() == "?"


def test_a_url_brings_the_options_back() -> None:
    options = ListOptions("a b&c", "failing over", "-ops", ("cache-1", "*", "!cache-2"))
    query = options.url()
    assert query == "?q=a+b%26c&state=failing+over&sort=-ops&open=cache-1,*,!cache-2"
    read = {"q": "a b&c", "state": "failing over", "sort": "-ops", "open": "cache-1,*,!cache-2"}
    assert ListOptions.of(read) == options


def test_a_head_pressed_again_turns_the_order_and_then_gives_the_worst_first() -> None:
    options, seen = ListOptions(), []
    for _ in range(3):
        options = options.sorted_by("ops")
        seen.append((options.sort, options.direction("ops")))
    assert seen == [("-ops", "descending"), ("ops", "ascending"), ("", "none")]
    assert ListOptions(sort="-ops").sorted_by("name").sort == "name"


@pytest.mark.parametrize("count", [SMALL_POOL, SMALL_POOL + 1])
def test_details_are_shown_of_few_shards_and_of_many_where_asked(count: int) -> None:
    few = count <= SMALL_POOL
    everyone = {f"cache-{number}" for number in range(count)}
    assert show(pool_of(count)).opened == (everyone if few else set())
    pressed = show(pool_of(count), toggle="cache-1").opened
    assert pressed == (everyone - {"cache-1"} if few else {"cache-1"})
    options = ListOptions.asked({"toggle": "cache-1"}, count)
    assert options.toggled("cache-1", count) == ListOptions(), "pressed twice"
    assert show(pool_of(count), open="*", toggle="cache-0").opened == everyone - {"cache-0"}


def test_a_link_to_a_shard_shows_it_whatever_was_filtered() -> None:
    shown = show(pool_of(40), q="cache-1", state="down", sort="-ops", show="cache-30")
    assert shown.opened == {"cache-30"}
    assert len(shown.shards) == 40
    assert ListOptions.asked({"show": "cache-3", "open": "cache-3"}, 40).opened == ("cache-3",)


def test_a_url_stays_bounded() -> None:
    many = ",".join(f"cache-{number}" for number in range(500))
    assert len(ListOptions.of({"open": many}).opened) == 32
