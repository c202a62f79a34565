"""What apps feel of a pool: sums of reports in buckets of bounded number."""

from __future__ import annotations

from cachemesh.core.quality.histogram import LatencyHistogram, bucket_of
from cachemesh.core.quality.report import ShardQuality
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
    assert b["breakers"] == {"open": 3}
    assert 0.0005 < a["p50"] <= a["p99"] <= a["max"] < 0.002
    assert b["errors_per_second"] == 0.1
    assert [each["client"] for each in shown["clients"]] == ["two", "one"], "the worst first"
    assert {each["at"] for each in shown["minutes"]} == {60.0 + 1000.0}
    assert quality.totals["a"].calls == 30
    quality.forget(["b"])
    assert quality.totals.keys() == {"b"}


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
