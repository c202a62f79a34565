"""A browser is told of the rows that changed, and of figures without their frame."""

from __future__ import annotations

from typing import Any

from dashboard.feed import PoolSnapshot
from dashboard.shard_list import ListOptions, listed
from dashboard.shard_rows import RowNews, ShownRows, shard_line
from dashboard.view import board
from dashboard.view_model import Felt
from tests.support.pool_statuses import dead, instance, pool_of, shard, status


def tell(rows: ShownRows, news: dict[str, Any], **query: str) -> RowNews:
    """What a browser is told of a status."""
    shards = board("cache", PoolSnapshot(status=news)).shards
    return rows.news(
        listed(shards, ListOptions.asked(query, len(shards)), {}),
        {each.name: shard_line(each, None) for each in shards},
        lambda line: f"<{line.frame.name} {line.frame.state}>",
        lambda row: f"[{row.name} {row.figures.get('ops_per_second')}]",
    )


def test_the_first_time_all_is_told_and_then_nothing() -> None:
    rows, news = ShownRows(), pool_of(8)
    first = tell(rows, news)
    assert first.html == "".join(f"<cache-{number} up>" for number in range(8))
    assert first.order == tuple(f"cache-{number}" for number in range(8))
    assert tell(rows, news).message() == {}


def test_figures_are_told_alone() -> None:
    rows, news = ShownRows(), pool_of(8)
    tell(rows, news)
    news["shards"][5]["master"] |= {"ops_per_second": 12345, "keys": 11}
    told = tell(rows, news).message()
    assert told == {
        "figures": {"cache-5": ("12,345", "50.0%", "1.0 KiB, 25%", "11", "2", "none", "")}
    }


def test_a_shard_that_goes_down_is_told_with_its_new_place() -> None:
    rows = ShownRows()
    tell(rows, pool_of(8))
    told = tell(rows, pool_of(8, cache_6="down"))
    assert told.html == "<cache-6 down>"
    assert told.order is not None
    assert told.order[0] == "cache-6"
    assert told.figures == {}


def test_a_shard_with_details_is_told_whenever_it_looks_otherwise() -> None:
    rows, news = ShownRows(), pool_of(8)
    assert "[cache-3 100]" in tell(rows, news, open="cache-3").html
    assert tell(rows, news, open="cache-3").message() == {}
    news["shards"][3]["master"]["ops_per_second"] = 7
    assert tell(rows, news, open="cache-3").message() == {"html": "[cache-3 7]"}


def test_a_row_that_was_gone_is_told_again() -> None:
    rows, news = ShownRows(), pool_of(8)
    tell(rows, news)
    gone = {**news, "shards": news["shards"][:-1]}
    assert tell(rows, gone).message() == {"order": tuple(f"cache-{n}" for n in range(7))}
    assert tell(rows, news).html == "<cache-7 up>"


def line(news: dict[str, Any], felt: Felt | None = None) -> Any:
    (only,) = board("cache", PoolSnapshot(status=news)).shards
    return shard_line(only, felt)


def test_what_needs_attention_is_in_the_frame() -> None:
    late = instance("r:1", role="replica", link="up", lag_bytes=0, lag_seconds=12)
    news = status(shard("a", 1.0, instance("h:1", used_memory=4000), late))
    shown = line(news)
    assert shown.frame.full
    assert shown.frame.lagging
    assert shown.figures[5] == "12 s behind"
    news["shards"][0]["replicas"] = [dead("r:1"), late]
    assert line(news).figures[5] == "1 of 2 down"


def test_a_shard_without_a_master_has_its_reason_in_place_of_figures() -> None:
    news = status(shard("a", 1.0, dead("h:1")))
    news["shards"][0] |= {"state": "down", "reason": "h:1 does not answer"}
    shown = line(news)
    assert (shown.frame.serves, shown.frame.note, shown.frame.grave) == (
        False,
        "h:1 does not answer",
        True,
    )
    assert shown.figures == ()


def test_what_apps_feel_is_in_the_line() -> None:
    news = status(shard("a", 1.0, instance("h:1")))
    shown = line(news, Felt(9.0, 1.5, (), 0.001, 0.033, 2, 0))
    assert shown.figures[6] == "p99 33 ms, 1.5 errors/s"
    assert shown.frame.failing
    assert shown.frame.note == "breaker open in 2"
    assert line(news).figures[6] == ""
