"""Laws of histograms and reports: what many clients felt is the sum of what each of them felt."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemesh.core.quality.histogram import BUCKETS, LatencyHistogram, bucket_of, upper_bound
from cachemesh.core.quality.meter import QualityMeter
from cachemesh.core.quality.report import (
    MOST_SHARDS,
    ShardQuality,
    busiest,
    checked_report,
    merged,
)
from cachemesh.core.resilience.error_classification import BreakerOpenError, NotSentError

seconds = st.floats(0, 200, allow_nan=False)
latencies = st.lists(seconds, max_size=50)
errors = st.dictionaries(st.sampled_from(["timeout", "broken"]), st.integers(1, 9))


def histogram(values: list[float]) -> LatencyHistogram:
    found = LatencyHistogram()
    for value in values:
        found.add(LatencyHistogram([(bucket_of(value), 1)]))
    return found


qualities = st.builds(
    ShardQuality,
    st.integers(0, 10**9),
    errors,
    latencies.map(histogram),
    st.sampled_from(["closed", "open", "half-open"]),
)


@given(st.floats(0, 134, allow_nan=False))
def test_a_bucket_is_at_most_an_eighth_wide(value: float) -> None:
    bound = upper_bound(bucket_of(value))
    assert value < bound + 1e-9
    assert bound <= value * 1.125 + 2e-6
    assert 0 <= bucket_of(value) < BUCKETS


@given(seconds, seconds)
def test_buckets_rise_with_the_latency(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert bucket_of(low) <= bucket_of(high) < BUCKETS


@given(latencies, latencies)
def test_the_histogram_of_all_is_the_sum_of_the_histograms(
    one: list[float], other: list[float]
) -> None:
    assert histogram(one) + histogram(other) == histogram(one + other)
    assert histogram(one + other) == histogram(other + one)


@given(st.lists(seconds, min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_is_that_of_the_latencies(values: list[float], share: float) -> None:
    found = histogram(values).quantile(share)
    rank = next(n for n in range(1, len(values) + 1) if n >= share * len(values))
    assert found == upper_bound(bucket_of(sorted(values)[rank - 1]))


@given(qualities)
def test_what_is_sent_is_what_is_read(quality: ShardQuality) -> None:
    assert ShardQuality.from_dict(json.loads(json.dumps(quality.to_dict()))) == quality


@given(qualities, qualities, qualities)
def test_reports_add_up_in_any_grouping(
    one: ShardQuality, two: ShardQuality, three: ShardQuality
) -> None:
    assert (one + two) + three == one + (two + three)
    assert merged([{"a": one}, {"a": two, "b": three}]) == {"a": one + two, "b": three}


@pytest.mark.parametrize(
    "found",
    [
        None,
        {},
        {"calls": -1},
        {"calls": True},
        {"calls": 2**53},
        {"calls": 1, "more": 1},
        {"calls": 1, "errors": {"made up": 1}},
        {"calls": 1, "errors": {"timeout": 0}},
        {"calls": 1, "errors": []},
        {"calls": 1, "breaker": "ajar"},
        {"calls": 1, "breaker": []},
        {"calls": 1, "latency": {"200": 1}},
        {"calls": 1, "latency": {"01": 1}},
        {"calls": 1, "latency": {"1": 1.0}},
        {"calls": 1, "latency": [1, 1]},
    ],
)
def test_what_is_no_report(found: object) -> None:
    with pytest.raises(ValueError, match=r"^cache-0: "):
        checked_report({"cache-0": found})


def test_too_many_shards_are_no_report() -> None:
    with pytest.raises(ValueError, match="at most"):
        checked_report({f"s-{n}": {"calls": 1} for n in range(MOST_SHARDS + 1)})


def test_a_meter_tells_what_is_new() -> None:
    meter = QualityMeter()
    meter.calls = 32
    meter.timed(0.001)
    meter.timed(0.002)
    meter.failed(TimeoutError())
    first = meter.since_last("closed")
    assert (first.calls, first.errors, first.latency.calls) == (32, {"timeout": 1}, 32)
    meter.answered(0.5)
    meter.failed(BreakerOpenError())
    meter.failed(NotSentError())
    second = meter.since_last("open")
    assert second.errors == {"breaker-open": 1, "not-connected": 1}
    assert (second.calls, second.latency, second.breaker) == (1, histogram([0.5]), "open")
    assert meter.since_last("closed") == ShardQuality()


def test_a_report_is_bounded() -> None:
    report = {f"s-{n}": ShardQuality(n) for n in range(MOST_SHARDS + 10)}
    report["s-0"] = ShardQuality(0, {"timeout": 1})
    sent = busiest(report)
    assert len(sent) == MOST_SHARDS
    assert "s-0" in sent
    assert "s-1" not in sent
