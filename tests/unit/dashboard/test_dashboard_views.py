"""How the dashboard turns a status into words and lines."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from dashboard import charts, format
from dashboard.events import event_line
from dashboard.feed import PoolSnapshot
from dashboard.history import SAMPLES, Figures, History, past_samples, pool_figures
from dashboard.view import board, freshness
from dashboard.view_model import Freshness
from tests.support.pool_statuses import instance, shard, status

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, format.UNKNOWN), (0, "0"), (12345, "12,345"), (1.25, "1.2"), (12.6, "13"), (3.0, "3")],
)
def test_number(value: float | None, text: str) -> None:
    assert format.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, format.UNKNOWN), (512, "512 B"), (1536, "1.5 KiB"), (1022 * 2**20, "1.0 GiB")],
)
def test_size(value: float | None, text: str) -> None:
    assert format.size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, format.UNKNOWN), (0, "0.0%"), (1, "100.0%"), (0.99999, "99.9%"), (0.00001, "<0.1%")],
)
def test_percent_never_rounds_to_all_or_nothing(value: float | None, text: str) -> None:
    assert format.percent(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "now"), (1, "now"), (59, "59 s ago"), (60, "1 min ago"), (7300, "2 h ago")],
)
def test_ago(seconds: int, text: str) -> None:
    assert format.ago(NOW - timedelta(seconds=seconds), NOW) == text


def test_how_long_something_lasts_is_never_negative() -> None:
    assert format.lasting(NOW, NOW - timedelta(seconds=3)) == "0 s"
    assert format.lasting(NOW, NOW + timedelta(seconds=61)) == "1 min"


def test_parse_time_takes_both_ways_to_write_utc_and_refuses_the_rest() -> None:
    assert format.parse_time("2026-01-01T00:00:00Z") == NOW
    assert format.parse_time("2026-01-01T01:00:00+01:00") == NOW
    assert format.parse_time("yesterday") is None


def test_spark_needs_two_values_and_breaks_at_gaps() -> None:
    assert charts.spark([1.0], 10) is None
    drawn = charts.spark([0.0, 2.0, None, 1.0, 2.0], 5)
    assert drawn is not None
    assert drawn.line.count("M") == 2
    assert drawn.line.startswith("M0.0 22.0L30.0 2.0")
    assert (drawn.low, drawn.high) == (0.0, 2.0)


def test_spark_of_an_idle_pool_lies_on_the_floor() -> None:
    drawn = charts.spark([0.0, 0.0], 2)
    assert drawn is not None
    assert drawn.line == "M0.0 22.0L120.0 22.0"


def test_pool_hit_ratio_is_weighted_by_operations() -> None:
    figures = {"a": Figures(300, 1.0), "b": Figures(100, 0.0), "c": Figures(None, None)}
    assert pool_figures(figures) == Figures(400, 0.75)
    assert pool_figures({"a": Figures(0, None)}) == Figures(0, None)
    assert pool_figures({}) == Figures(None, None)


def test_a_dead_sentinel_is_named_before_the_shards_that_it_degrades() -> None:
    news = status(shard("a", 0.5, instance("h:1")), shard("b", 0.5, instance("h:2")))
    news["shards"][0] |= {"state": "degraded", "reason": "2 of 3 Sentinels"}
    news["shards"][1] |= {"state": "down", "reason": "h:2 does not answer"}
    news["sentinels"] = [{"address": "s:1", "up": False, "error": "Connection refused"}]
    view = board("cache", PoolSnapshot(status=news))
    assert [each.headline for each in view.alerts] == [
        "b is down",
        "Sentinel s:1 is down",
        "a is degraded",
    ]


def test_history_keeps_a_steady_pace() -> None:
    history = History()
    for at in (0.0, 0.5, 1.0, 2.0, 4.0):
        history.add(at, status(shard("a", 1.0, instance("h:1"))))
    assert [sample.at for sample in history.samples()] == [0.0, 2.0, 4.0]


def test_a_time_without_news_is_a_gap_in_the_lines() -> None:
    history = History()
    for at in (0.0, 2.0, 7.0, 27.0):
        history.add(at, status(shard("a", 1.0, instance("h:1"))))
    samples = history.samples()
    assert [each.at for each in samples] == [0.0, 2.0, *(7.0 + 2 * n for n in range(11))]
    assert [each.pool.ops for each in samples] == [100, 100, 100, *[None] * 9, 100]
    history.add(1e6, status(shard("a", 1.0, instance("h:1"))))
    assert [each.pool.ops for each in history.samples()] == [*[None] * (SAMPLES - 1), 100]


def test_history_begins_with_what_the_metaserver_knows() -> None:
    told = {
        "until": "2026-01-01T00:00:03.500Z",
        "step": 5,
        "points": [
            {"at": "2025-12-31T23:59:50.000Z", "ops_per_second": 70.0, "hit_ratio": None},
            {"at": "2026-01-01T00:00:00.000Z", "ops_per_second": 90.0, "hit_ratio": 0.5},
        ],
    }
    history = History()
    history.begin_with(past_samples(1000.0, told))
    history.add(1000.0, status(shard("a", 1.0, instance("h:1"))))
    samples = history.samples()
    assert [each.at for each in samples[-3:]] == [996.0, 998.0, 1000.0]
    assert [each.pool.ops for each in samples[-8:]] == [None, 70, 70, None, None, None, 90, 100]
    assert len(samples) == SAMPLES


def test_board_totals_leave_out_what_a_dead_master_cannot_say() -> None:
    dead = {"address": "h:2", "up": False, "role": None, "error": "connection refused"}
    news = status(shard("a", 0.5, instance("h:1")), shard("b", 0.5, dead))
    news["shards"][1] |= {"state": "down", "reason": "h:2 does not answer"}
    view = board("cache", PoolSnapshot(status=news))
    assert (view.totals.masters_up, view.totals.shards) == (1, 2)
    assert (view.totals.used_memory, view.totals.maxmemory, view.totals.keys) == (1024, 4096, 10)
    assert [(each.level, each.headline) for each in view.alerts] == [("down", "b is down")]
    assert view.shards[1].instances[0].role == "master"


@pytest.mark.parametrize(
    ("replica", "lag", "lagging"),
    [
        ({"link": "up", "lag_bytes": 0, "lag_seconds": 0}, "in sync", False),
        ({"link": "up", "lag_bytes": 4096, "lag_seconds": 1}, "4,096 B behind", False),
        ({"link": "up", "lag_bytes": 4096, "lag_seconds": 14}, "14 s behind", True),
        ({"link": "down", "lag_bytes": None, "lag_seconds": None}, "link down", True),
        ({"link": "up", "lag_bytes": None, "lag_seconds": None}, "unknown", False),
        ({"up": False}, "", False),
    ],
)
def test_lag_in_words(replica: dict[str, Any], lag: str, lagging: bool) -> None:
    copy = instance("h:2", role="replica", **replica)
    view = board("cache", PoolSnapshot(status=status(shard("a", 1.0, instance("h:1"), copy))))
    shown = view.shards[0].instances[1]
    assert (shown.lag, shown.lagging) == (lag, lagging)


def test_board_of_nothing_heard_yet() -> None:
    view = board("cache", PoolSnapshot())
    assert (view.health, view.shards, view.version) == ("unknown", (), None)


def test_events_in_words() -> None:
    event = {"id": 1, "at": "2026-01-01T00:00:00Z", "actor": "token:ops", "action": "shard.add"}
    line = event_line(event | {"target": "cache-3", "detail": None})
    assert (line.actor, line.text, line.detail) == ("ops", "added shard cache-3", "")
    ended = event | {"actor": "system", "action": "resize.done", "target": "cache-3"}
    assert event_line(ended).text == "Resize of cache-3 done"
    assert event_line(ended | {"after": {"back": True}}).text == "Resize of cache-3 is turned back"
    line = event_line(event | {"actor": "system", "action": "moon.rose", "target": "x"})
    assert (line.actor, line.kind, line.text) == (None, "info", "moon.rose x")


def test_freshness() -> None:
    before, later = NOW, NOW + timedelta(seconds=9)
    heard = PoolSnapshot(connected=True, since=before, last_data=before)
    assert freshness(heard, before + timedelta(seconds=1)) == Freshness("live", before, 1)
    assert freshness(heard, later) == Freshness("quiet", before, 9)
    gone = replace(heard, connected=False, since=later)
    assert freshness(gone, later) == Freshness("lost", later, 9)
    assert freshness(PoolSnapshot(since=before), later).age == 9


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.001, "<0.01"), (0.034, "0.03"), (0.5, "0.5"), (3.04, "3"), (1204.4, "1,204")],
)
def test_rate_is_zero_only_where_nothing_happened(value: float, text: str) -> None:
    assert format.rate(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((None, format.UNKNOWN), (0.00021, "0.21 ms"), (0.0096, "9.6 ms"), (0.14, "140 ms")),
        *((0.9999, "1 s"), (1.44, "1.4 s"), (134.2, "134 s")),
    ],
)
def test_latency(seconds: float | None, text: str) -> None:
    assert format.latency(seconds) == text


def test_what_apps_feel() -> None:
    figures = {
        "calls": 600,
        "calls_per_second": 10.0,
        "errors": {"broken": 30, "timeout": 90},
        "errors_per_second": 2.0,
        "p50": 0.001,
        "p99": 0.02,
        "max": 0.1,
        "breakers": {"open": 2},
    }
    quality = {
        "total": figures,
        "shards": [{"shard": "a", **figures}],
        "reporting": 3,
        "silent": [],
    }
    shown = board("cache", PoolSnapshot(quality=quality)).felt
    assert shown is not None
    assert shown.shards["a"] == shown.total
    assert shown.total.classes == (("timeout", 1.5), ("broken", 0.5))
    assert (shown.total.open, shown.total.half_open, shown.reporting) == (2, 0, 3)
    assert board("cache", PoolSnapshot()).felt is None
