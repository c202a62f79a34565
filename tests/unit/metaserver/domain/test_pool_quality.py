"""What apps feel of a pool: sums of reports in buckets of bounded number."""

from __future__ import annotations

import pytest

from cachemesh.core.quality.histogram import LatencyHistogram, bucket_of
from cachemesh.core.quality.report import ShardQuality
from metaserver.domain.published_quality import PublishedQuality
from metaserver.domain.quality import MINUTES, SECONDS, PoolQuality


def felt(calls: int = 10, seconds: float = 0.001, **errors: int) -> ShardQuality:
    latency = LatencyHistogram([(bucket_of(seconds), calls)])
    return ShardQuality(calls, errors, latency, "open" if errors else "closed")


def test_reports_add_up_by_shard() -> None:
    quality = PoolQuality()
    for second in range(3):
        quality.add(100.0 + second, "one", {"a": felt(), "gone": felt()}, ["a", "b"])
        quality.add(100.2 + second, "two", {"b": felt(5, 0.1, timeout=2)}, ["a", "b"])
    shown = quality.to_dict(103.0, 1000.0, 60)
    a, b = shown["shards"]
    assert (a["shard"], a["calls"], a["errors"], a["breakers"]) == ("a", 30, {}, {})
    assert (b["shard"], b["calls"], b["errors"]) == ("b", 15, {"timeout": 6})
    assert b["breakers"] == {"open": 1}, "of clients, not of reports"
    assert shown["reporting"] == 2
    assert 0.0005 < a["p50"] <= a["p99"] <= a["max"] < 0.002
    assert b["errors_per_second"] == 0.1
    assert [each["client"] for each in shown["clients"]] == ["two", "one"], "the worst first"
    assert {each["at"] for each in shown["minutes"]} == {60.0 + 1000.0}
    assert quality.totals["a"].calls == 30
    quality.forget(["b"])
    assert quality.totals.keys() == {"b"}


def test_a_breaker_is_open_in_so_many_clients_until_they_say_otherwise() -> None:
    quality = PoolQuality(lease=30.0)
    for client in ("one", "two", "three", "four"):
        quality.add(100.0, client, {"a": felt(1, timeout=1), "b": felt(1)}, ["a", "b"])
    assert open_in(quality, 100.0) == {"a": {"open": 4}, "b": {}}
    quality.add(101.0, "one", {"a": felt(1)}, ["a", "b"])  # it closed
    quality.add(101.0, "two", {"b": felt(1)}, ["a", "b"])  # nothing of a: as usual
    quality.add(101.0, "three", {}, ["a", "b"])  # an idle client tells nothing
    assert open_in(quality, 101.0) == {"a": {"open": 1}, "b": {}}
    assert open_in(quality, 131.0) == {"a": {}, "b": {}}, "it was not heard for a lease"


def test_a_rate_of_the_first_seconds_is_not_one_of_a_minute() -> None:
    quality = PoolQuality(began=100.0)
    quality.add(118.0, "one", {"a": felt(200)}, ["a"])
    (a,) = quality.to_dict(120.0, 0.0, 60)["shards"]
    assert a["calls_per_second"] == 10.0
    (a,) = quality.to_dict(170.0, 0.0, 60)["shards"]
    assert a["calls_per_second"] == round(200 / 60, 3)


def test_what_another_process_counts_is_added_once() -> None:
    here, there = PoolQuality(), PoolQuality()
    there.add(1.0, "early", {"a": felt(1_000)}, ["a"])
    for second in range(3):
        told = PublishedQuality.from_json(there.published(60.0, 9, 9).to_json())
        here.take_over(100.0 + second, "other", told, ["a"])
        here.take_over(100.0 + second, "other", told, ["a"])
        there.add(50.0 + second, "there", {"a": felt(10, 0.1, timeout=2)}, ["a"])
    here.add(102.0, "here", {"a": felt(10, 0.001)}, ["a"])
    shown = here.to_dict(103.0, 0.0, 60)
    (a,) = shown["shards"]
    assert (a["calls"], a["errors"]) == (10 + 2 * 10, {"timeout": 4}), "from the first look on"
    assert a["p50"] > 0.09, "20 of 30 were slow: the histograms are merged, not the quantiles"
    assert a["breakers"] == {"open": 1}
    assert [each["client"] for each in shown["clients"]] == ["there", "here", "early"]
    assert shown["reporting"] == 3
    assert here.totals["a"].calls == 10, "the metrics of each process are its own"


def test_shards_told_of_later_are_counted_from_then_on() -> None:
    there = PoolQuality()
    for shard in ("a", "b"):
        there.add(1.0, "one", {shard: felt(10)}, ["a", "b"])
    part, whole = there.published(2.0, 1, 9), there.published(2.0, 9, 9)
    assert part.totals.keys() == {"a"}
    assert whole.since(part) == {}
    assert whole.since(PublishedQuality())["b"].calls == 10


def test_counting_that_has_begun_anew_is_not_taken_for_negative() -> None:
    there = PoolQuality()
    there.add(1.0, "one", {"a": felt(10)}, ["a"])
    before = there.published(2.0, 9, 9)
    there.forget([])
    there.add(3.0, "one", {"a": felt(4)}, ["a"])
    assert there.published(4.0, 9, 9).since(before) == {}


@pytest.mark.parametrize("found", [None, [], {}, {"shards": 3}, {"shards": {"a": {"calls": -1}}}])
def test_what_is_no_publication(found: object) -> None:
    with pytest.raises(ValueError, match=r"published quality|calls is not"):
        PublishedQuality.from_json(found)


def open_in(quality: PoolQuality, now: float) -> dict[str, dict[str, int]]:
    shards = quality.to_dict(now, 0.0, 60)["shards"]
    return {each["shard"]: each["breakers"] for each in shards}


def test_old_buckets_go() -> None:
    quality = PoolQuality()
    for second in range(0, 3 * MINUTES * 60, 30):
        quality.add(float(second), "one", {"a": felt(1)}, ["a"])
    end = float(3 * MINUTES * 60)
    assert quality.shards(end, 60)["a"].calls == 2
    assert quality.shards(end, SECONDS + 1)["a"].calls in (4, 5, 6), "from the minutes"
    assert len(quality.to_dict(end, 0.0, 60)["minutes"]) == MINUTES
    assert quality.shards(end + 10_000, 60) == {}


def test_clients_are_bounded() -> None:
    quality = PoolQuality()
    for number in range(2_100):
        quality.add(1.0, f"client-{number}", {"a": felt(1)}, ["a"])
    shown = quality.to_dict(2.0, 0.0, 60)
    assert len(shown["clients"]) == 100
    assert quality.totals["a"].calls == 2_100
