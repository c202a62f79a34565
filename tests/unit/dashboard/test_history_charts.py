"""What the charts of a pool's history show: scales, gaps, marks, and words for who sees none."""

from __future__ import annotations

import itertools
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.event_marks import APART, MARKED, events_of, marks_of
from dashboard.events import _ACTIONS
from dashboard.history_charts import BYTES, CHARTS, COUNT, RATE, history_view
from dashboard.time_chart import BOTTOM, LEFT, RIGHT, TOP, TimeSpan, time_chart, value_scale

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc).timestamp()
HOUR = TimeSpan(NOON - 3600, NOON, 600)
FIELDS = {field for kind in CHARTS for field in (*kind.fields, kind.bound) if field}


def at(seconds: float) -> str:
    return datetime.fromtimestamp(NOON + seconds, timezone.utc).isoformat().replace("+00:00", "Z")


def event(seconds: float, action: str, target: str = "cache-0", **more: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "at": at(seconds),
        "actor": "system",
        "action": action,
        "target": target,
    } | more


def history(*points: dict[str, Any], shard: str | None = None, **more: Any) -> dict[str, Any]:
    """Return a history as the metaserver tells it; each point names what is known, and `at`."""
    whole = [{**dict.fromkeys(FIELDS), **each, "at": at(each["at"])} for each in points]
    told = {"pool": "cache", "shard": shard, "step": 15, "until": at(0), "known_since": at(-86_000)}
    return {**told, "points": whole, **more}


@given(st.floats(1e-6, 1e15), st.booleans(), st.booleans())
def test_a_scale_begins_at_nothing_and_ends_above_the_highest_value(
    high: float, binary: bool, whole: bool
) -> None:
    scale = value_scale(high, binary=binary, whole=whole)
    assert scale[0] == 0.0
    assert scale[-1] >= high * (1 - 1e-6)
    assert 2 <= len(scale) <= 6
    assert all(
        later - earlier == pytest.approx(scale[1]) for earlier, later in itertools.pairwise(scale)
    )
    assert not whole or scale[1] >= 1


def test_scales_are_round() -> None:
    assert value_scale(870) == (0, 500, 1000)
    assert value_scale(0) == (0, 1)
    assert value_scale(1, whole=True) == (0, 1)
    assert [BYTES.tick(v) for v in value_scale(700 * 2**20, binary=True)] == [
        *("0 B", "200 MiB", "400 MiB", "600 MiB", "800 MiB"),
    ]
    assert [RATE.tick(v) for v in value_scale(33_000)] == ["0", "10k", "20k", "30k", "40k"]
    assert [RATE.tick(v) for v in value_scale(0.3)] == ["0", "0.1", "0.2", "0.3"]
    assert COUNT.tick(1500) == "1,500"


VALUES = st.lists(st.tuples(st.floats(NOON - 4000, NOON + 400), st.none() | st.floats(0, 100)))


@given(VALUES.map(lambda found: sorted(found, key=lambda each: each[0])))
def test_nothing_is_drawn_outside_the_plot(values: list[tuple[float, float | None]]) -> None:
    drawn = time_chart(HOUR, [values], value_scale(50), str, 60)
    (line,) = drawn.lines
    for pair in line.line.replace("h0", "").replace("M", "L").split("L")[1:]:
        x, y = map(float, pair.split())
        assert LEFT <= x <= RIGHT
        assert TOP <= y <= BOTTOM


def test_a_gap_breaks_a_line_and_a_value_alone_is_a_dot() -> None:
    values = [(NOON - 100, 1.0), (NOON - 90, 2.0), (NOON - 80, None), (NOON, 3.0)]
    drawn = time_chart(HOUR, [values], value_scale(3), str, 60)
    assert drawn.lines[0].line.count("M") == 2
    assert drawn.lines[0].line.endswith("h0")
    assert drawn.lines[0].area.count("Z") == 1
    assert [tick.text for tick in drawn.times] == [
        *("11:00", "11:10", "11:20", "11:30", "11:40", "11:50", "12:00"),
    ]
    assert (drawn.times[0].place, drawn.times[-1].place) == (LEFT, RIGHT)


@given(st.lists(st.floats(-3600, 0)))
def test_each_event_has_one_mark_and_marks_are_apart(times: list[float]) -> None:
    events = [event(each, "failover") for each in sorted(times, reverse=True)]
    marked = events_of(events, HOUR, None)
    marks = marks_of(marked.lines, HOUR)
    assert tuple(line for mark in marks for line in mark.events) == marked.lines
    assert len(marked.lines) == min(len(times), 60)
    assert marked.since == (marked.lines[0].at if len(times) > 60 else None)
    assert [mark.number for mark in marks] == list(range(1, len(marks) + 1))
    for one, next_one in itertools.pairwise(marks):
        assert next_one.place - one.place >= APART - 0.1


def test_which_events_are_marked() -> None:
    assert _ACTIONS.keys() >= MARKED
    events = [
        event(-10, "shard.up", "cache-1"),
        event(-20, "shard.down", "cache-1"),
        event(-30, "token.create", "ops"),
        event(-40, "pool.settings", "cache", actor="token:ops"),
        event(-50, "shard.add", "cache-0"),
        event(-9000, "shard.add", "cache-2"),
    ]
    (mark,) = marks_of(events_of(events, HOUR, None).lines, HOUR)
    assert mark.kind == "bad"
    assert mark.words == (
        "added shard cache-0; ops changed settings of cache; cache-1 went down; cache-1 is up again"
    )
    of_shard = events_of(events, HOUR, "cache-0")
    assert [line.action for line in of_shard.lines] == ["shard.add", "pool.settings"]


def test_it_is_said_from_when_on_everything_is_marked() -> None:
    quiet = [event(-10, "shard.up"), event(-1000, "token.create")]
    assert history_view(history(), quiet, "1h").marked_since is None
    more = history_view(history(), quiet, "1h", all_events=False)
    assert more.marked_since == datetime.fromtimestamp(NOON - 1000, timezone.utc)
    assert len(more.marks) == 1


def test_a_step_without_a_point_breaks_a_line() -> None:
    """Of a day: a metaserver that did not run for five minutes has seen nothing of them."""
    told = [{"at": at, "keys": 5} for at in (-1500, -1200, -600, -300)]
    keys = next(
        c for c in history_view(history(*told, step=300), [], "1d").charts if c.title == "Keys"
    )
    assert keys.drawn.lines[0].line.count("M") == 2
    told = [{"at": at, "keys": 5} for at in (-25, -20, -10, -5)]
    keys = next(
        c for c in history_view(history(*told, step=5), [], "5m").charts if c.title == "Keys"
    )
    assert keys.drawn.lines[0].line.count("M") == 1, "an observation may come late"


def test_times_of_a_day_have_their_date() -> None:
    (row,) = history_view(history({"at": -86_000, "keys": 5}, step=300), [], "1d").table.rows
    assert row[0] == "2025-12-31 12:06"


def test_the_page_tells_what_it_draws() -> None:
    view = history_view(
        history(
            {"at": -60, "ops_per_second": 1200.0, "used_memory": 2**20, "maxmemory": 2**21},
            {"at": -45, "ops_per_second": 30.5, "p50": 0.0002, "p99": 0.004},
            {"at": -15, "ops_per_second": 800.0, "used_memory": 2**20, "maxmemory": 2**21},
        ),
        [event(-30, "failover")],
        "1h",
    )
    charts = {chart.title: chart for chart in view.charts}
    ops = charts["Operations"]
    assert ops.now == (("", "800"),)
    assert ops.told == ("Operations per second, the last hour: now 800; lowest 30, highest 1,200")
    assert charts["Memory"].bound == "of 2.0 MiB"
    assert len(charts["Memory"].drawn.lines) == 2
    assert charts["Latency, as apps feel it"].now == (("p50", "0.2 ms"), ("p99", "4 ms"))
    assert charts["Keys"].told == "Keys, the last hour: nothing is known"
    assert not charts["Keys"].known
    assert [mark.words for mark in view.marks] == ["Failover of cache-0"]
    assert [row[:2] for row in view.table.rows] == [
        ("11:59:45", "800"),
        ("11:59:15", "30"),
        ("11:59:00", "1,200"),
    ]
    assert view.table.heads[:2] == ("Time", "Operations")
    assert view.since is None, "it was known before"
    assert view.known


def test_what_is_old_is_not_called_current() -> None:
    view = history_view(history({"at": -1000, "keys": 7}, shard="cache-0"), [], "1h")
    charts = {chart.title: chart for chart in view.charts}
    assert charts["Keys"].now == (("", "\N{EN DASH}"),)
    assert charts["Keys"].known
    assert "Connections" in charts
    assert "Clients" not in charts


def test_a_history_that_has_only_begun() -> None:
    view = history_view(history(known_since=None), [], "5m")
    assert not view.known
    assert all(not chart.known for chart in view.charts)
    begun = history_view(history({"at": -30, "keys": 1}, known_since=at(-30)), [], "5m")
    assert begun.since is not None
