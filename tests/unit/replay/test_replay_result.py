"""Histogram, error log and made-up accesses of a replay."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from cachemesh.replay.error_log import ErrorLog
from cachemesh.replay.histogram import BUCKETS, bucket, merged, quantile_us
from cachemesh.replay.result import ErrorWindow, hit_ratio
from cachemesh.replay.runner import value_of
from cachemesh.replay.workload import zipf


def histogram(nanoseconds: list[int]) -> list[int]:
    counts = [0] * BUCKETS
    for latency in nanoseconds:
        counts[bucket(latency)] += 1
    return counts


@given(st.integers(1, 10**12))
def test_a_bucket_stands_for_its_latencies_within_one_percent(latency: int) -> None:
    read = quantile_us(histogram([latency]), 0.5)
    assert read is not None
    exact = latency / 1000
    assert abs(read - exact) <= 0.0101 * exact + 0.051  # shown to a tenth of a microsecond


def test_longer_than_the_last_bucket_counts_in_it() -> None:
    assert bucket(10**18) == BUCKETS - 1


def test_quantiles_of_a_known_spread() -> None:
    counts = histogram([microseconds * 1000 for microseconds in range(1, 10_001)])
    for share in (0.5, 0.99, 0.999):
        assert quantile_us(counts, share) == pytest.approx(share * 10_000, rel=0.011)
    assert quantile_us([0] * BUCKETS, 0.5) is None
    assert merged([[1, 2], [10, 20]]) == [11, 22]


def test_hit_ratio_without_a_get() -> None:
    assert hit_ratio(0, 0) is None
    assert hit_ratio(3, 1) == 0.75


def test_error_window_knows_episodes() -> None:
    log = ErrorLog()
    assert log.window() is None
    for began, ended in ((2.0, 2.1), (2.5, 3.5), (3.6, 3.7), (10.0, 10.2)):
        log.record(redis.ConnectionError("shard cache-1: gone"), began, ended)
    log.record(redis.TimeoutError("slow"), 10.3, 10.4)
    assert log.window() == ErrorWindow(first_s=2.0, last_s=10.4, longest_s=1.7)
    assert log.by_class() == {"ConnectionError": 4, "TimeoutError": 1}
    assert log.examples()["ConnectionError"] == "shard cache-1: gone"
    assert log.total == 5


def test_error_window_of_a_slow_failure_reported_late() -> None:
    log = ErrorLog()
    log.record(redis.ConnectionError(), 5.0, 5.1)
    log.record(redis.TimeoutError(), 1.0, 6.0)
    assert log.window() == ErrorWindow(first_s=1.0, last_s=6.0, longest_s=5.0)


@pytest.mark.parametrize("size", [0, 3, 100])
def test_a_value_says_whose_it_is(size: int) -> None:
    value = value_of(b"user:1", size)
    assert len(value) == max(size, 7)
    assert value.startswith(b"user:1\n")
    assert not value.startswith(b"user:\n")


def test_zipf_is_repeatable_and_skewed() -> None:
    accesses = list(zipf(1000, 50_000, skew=0.9, seed=7))
    assert accesses == list(zipf(1000, 50_000, skew=0.9, seed=7))
    assert accesses != list(zipf(1000, 50_000, skew=0.9, seed=8))
    assert len(accesses) == 50_000
    counts = Counter(accesses)
    popular = [counts[f"object:{rank}"] for rank in (1, 10, 100, 1000)]
    assert all(more > 2 * fewer for more, fewer in pairwise(popular))
    share = 1 / sum(1 / rank**0.9 for rank in range(1, 1001))
    assert counts["object:1"] / 50_000 == pytest.approx(share, rel=0.05)


def test_zipf_of_skew_zero_is_uniform_and_leaves_other_randomness_alone() -> None:
    random.seed(3)
    before = random.getstate()
    counts = Counter(zipf(10, 20_000, skew=0, seed=1, prefix=""))
    assert random.getstate() == before
    assert set(counts) == {str(rank) for rank in range(1, 11)}
    assert max(counts.values()) < 1.15 * min(counts.values())


@pytest.mark.parametrize("arguments", [(0, 1, 1.0), (1, -1, 1.0), (1, 1, -0.1)])
def test_zipf_refuses_what_it_cannot_draw(arguments: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        zipf(*arguments)
