"""How the figures of a pool add up over shards and over time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemesh.core.quality.histogram import LatencyHistogram, bucket_of
from cachemesh.core.quality.report import ShardQuality
from metaserver.domain.history import (
    COARSE,
    FINE,
    MOST_POINTS,
    SUMS,
    WHOLE_POOL,
    HistoryPoint,
    ServerCounts,
    combined,
    counts_of,
    level_for,
    points_of,
    resampled,
    shown,
    step_for,
)
from metaserver.domain.quality import QualitySum
from metaserver.domain.status import pool_status
from tests.support.pool_observations import MASTER_INFO, observation

NUMBERS = st.none() | st.integers(0, 1_000_000)
POINTS = st.builds(HistoryPoint, **dict.fromkeys(HistoryPoint._fields, NUMBERS))
TIMED = st.lists(st.tuples(st.integers(0, 500).map(lambda n: n * FINE.step), POINTS)).map(
    lambda found: sorted(dict(found).items())
)


@given(st.lists(POINTS, min_size=1), st.lists(POINTS, min_size=1))
def test_it_makes_no_difference_in_how_many_steps_points_are_combined(
    some: list[HistoryPoint], others: list[HistoryPoint]
) -> None:
    assert combined([combined(some), combined(others)]) == combined([*some, *others])


@given(TIMED, st.integers(1, 40).map(lambda n: n * FINE.step))
def test_a_longer_step_keeps_sums_and_extremes(
    points: list[tuple[int, HistoryPoint]], step: int
) -> None:
    longer = resampled(points, step)
    assert [at for at, _ in longer] == sorted({at // step * step for at, _ in points})
    for name in HistoryPoint._fields:
        before = [v for _, point in points if (v := getattr(point, name)) is not None]
        after = [v for _, point in longer if (v := getattr(point, name)) is not None]
        measure = sum if name in SUMS else (lambda values: max(values, default=None))
        assert measure(after) == measure(before), name


@given(
    st.floats(0, COARSE.seconds),
    st.none() | st.integers(FINE.step, 86_400),
    st.integers(0, 2_000_000_000),
)
def test_an_answer_is_bounded_and_made_of_whole_points(
    seconds: float, wanted: int | None, at: int
) -> None:
    step, level = step_for(seconds, wanted), level_for(seconds)
    assert step % level.step == 0
    assert step >= (wanted or 0)
    assert seconds / step <= MOST_POINTS
    assert 0 <= level.slot(at) < level.points
    begins = {level.begin(at) + number * level.step for number in range(level.points)}
    assert len({level.slot(begin) for begin in begins}) == level.points, "none is overwritten"


def test_a_minute_is_made_of_whole_points_whose_slots_stand_together() -> None:
    assert COARSE.step % FINE.step == 0
    assert FINE.seconds >= 3600
    assert COARSE.seconds >= 86_400


def counted(at: float, run_id: str = "m", **counts: int) -> ServerCounts:
    usual = {"commands": 0, "hits": 0, "misses": 0, "evictions": 0}
    return ServerCounts(run_id, at, {**usual, **counts})


def points(
    now: ServerCounts | None, before: ServerCounts | None, **more: Any
) -> dict[str, HistoryPoint]:
    status = pool_status(observation(**more))
    felt = QualitySum()
    felt.add(ShardQuality(20, {"timeout": 4}, LatencyHistogram([(bucket_of(0.001), 20)])))
    return points_of(
        status,
        {} if now is None else {"cache-0": now},
        {} if before is None else {"cache-0": before},
        {"cache-0": felt},
        5,
    )


def test_what_a_shard_has_done_and_how_apps_felt_it() -> None:
    now = counted(15.0, commands=1_000, hits=30, misses=10, evictions=5)
    found = points(now, counted(10.0, commands=500))["cache-0"]
    assert (found.seconds, found.commands, found.peak) == (5.0, 500, 100.0)
    assert (found.keys, found.clients, found.used_memory) == (5123, 12, 1048576)
    assert (found.lag_bytes, found.lag_seconds) == (100, 1)
    told = shown(found, 5)
    assert (told["ops_per_second"], told["hit_ratio"]) == (100.0, 0.75)
    assert (told["evictions_per_second"], told["calls_per_second"]) == (1.0, 4.0)
    assert told["errors_per_second"] == 0.8
    assert isinstance(told["p99"], float)
    assert 0.0005 < told["p99"] < 0.002


@pytest.mark.parametrize(
    "before",
    [None, counted(10.0, run_id="another"), counted(15.0)],
    ids=["the first", "restarted", "not asked again"],
)
def test_without_two_readings_of_one_server_there_is_no_rate(before: ServerCounts | None) -> None:
    found = points(counted(15.0, commands=1_000), before)["cache-0"]
    assert (found.commands, found.seconds, found.peak) == (None, None, None)
    assert shown(found, 5)["ops_per_second"] is None
    assert found.keys == 5123


@pytest.mark.parametrize("counter", ["commands", "hits", "misses"])
def test_counters_that_were_set_back_tell_no_rate(counter: str) -> None:
    """CONFIG RESETSTAT sets back all of them, of which some may be above where they were."""
    now = counted(15.0, commands=700, hits=70)
    counts = {"commands": 600, "hits": 60, counter: 1_000}
    before = ServerCounts("m", 10.0, {**now.counts, **counts})
    found = points(now, before)["cache-0"]
    assert (found.commands, found.hits, found.seconds, found.peak) == (None, None, None, None)


def test_a_master_that_does_not_answer_tells_nothing_but_apps_do() -> None:
    found = points(None, counted(10.0), master="Connection refused")
    for point in found.values():
        assert (point.keys, point.used_memory, point.commands) == (None, None, None)
        assert (point.calls, point.errors) == (20, 4)


def test_a_server_may_say_anything() -> None:
    huge = {**MASTER_INFO, "used_memory": str(2**63 - 1), "evicted_keys": "-5"}
    seen = observation(master=huge)
    (counts,) = counts_of(pool_status(seen), seen.samples).values()
    assert counts.counts["evictions"] == -5
    found = points(None, None, master=huge)
    assert found["cache-0"].used_memory == found[WHOLE_POOL].used_memory == 2**53 - 1


def two_shards(**second: Any) -> HistoryPoint:
    """Return the point of a pool of two shards, one as usual and one with such a master."""
    status = pool_status(observation())
    (shard,) = status["shards"]
    shard["master"]["maxmemory"] = 100
    other = {**shard, "name": "cache-1", "master": {**shard["master"], **second}}
    status["shards"] = [shard, other]
    now = {"cache-0": counted(15.0, commands=10), "cache-1": counted(14.0, commands=30)}
    before = {"cache-0": counted(10.0), "cache-1": counted(10.0)}
    return points_of(status, now, before, {}, 5)[WHOLE_POOL]


def test_a_pool_is_the_sum_of_its_shards() -> None:
    found = two_shards(keys=7, maxmemory=50)
    assert (found.keys, found.maxmemory, found.commands, found.seconds) == (5130, 150, 40, 5.0)
    assert found.clients == 3, "the live clients of the pool"
    assert found.lag_bytes == 100, "of the furthest behind"
    assert (found.calls, found.p99) == (None, None), "nobody has reported"
    assert two_shards(maxmemory=0).maxmemory == 0, "one without a bound has none together"
    assert two_shards(maxmemory=None, keys=None).maxmemory == 100
