"""Latency histograms: counts in buckets that grow with the latency, so that they can be added.

A bucket is at most an eighth wide: 0, 1, ... 15 microseconds, then 16-17, 18-19, ... 30-31, 32-35,
... So a quantile is at most 12.5 % too high, and that of the sum of many histograms is as exact as
that of one.

Source: G. Tene, HdrHistogram (hdrhistogram.org), for buckets of constant relative width.
"""

from __future__ import annotations

from collections.abc import Iterable

_SHORTEST = 16  # microseconds; below, a bucket is one wide
_LONGEST = (1 << 27) - 1  # microseconds: 134 s; what took longer is in the last bucket
BUCKETS = 200
MOST = 2**53 - 1
"""The largest count of one report."""

_BUCKET_OF = {str(bucket): bucket for bucket in range(BUCKETS)}


def bucket_of(seconds: float) -> int:
    """Return the bucket of a latency."""
    micros = int(seconds * 1e6)
    if micros < _SHORTEST:
        return max(micros, 0)
    shift = min(micros, _LONGEST).bit_length() - 4
    return shift * 8 + (min(micros, _LONGEST) >> shift)


def upper_bound(bucket: int) -> float:
    """Return the seconds below which the latencies of a bucket are."""
    if bucket < _SHORTEST:
        return (bucket + 1) / 1e6
    shift = bucket // 8 - 1
    return ((bucket - shift * 8 + 1) << shift) / 1e6


class LatencyHistogram:
    """How many calls took how long.

    Attributes:
        counts: bucket -> calls; without buckets that are empty.
    """

    __slots__ = ("counts",)

    def __init__(self, counts: Iterable[tuple[int, int]] = ()) -> None:
        self.counts = {bucket: count for bucket, count in counts if count}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LatencyHistogram) and self.counts == other.counts

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __add__(self, other: LatencyHistogram) -> LatencyHistogram:
        found = LatencyHistogram(self.counts.items())
        found.add(other)
        return found

    def add(self, other: LatencyHistogram) -> None:
        """Count the calls of another histogram here, too."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    @property
    def calls(self) -> int:
        """The number of calls."""
        return sum(self.counts.values())

    def quantile(self, share: float) -> float | None:
        """Return the seconds within which this share of the calls was done; None without calls."""
        left = share * self.calls
        for bucket in sorted(self.counts):
            left -= self.counts[bucket]
            if left <= 0:
                return upper_bound(bucket)
        return None

    def to_dict(self) -> dict[str, int]:
        """Return the counts by the number of their bucket, the form for JSON."""
        return {str(bucket): count for bucket, count in sorted(self.counts.items())}

    @classmethod
    def from_dict(cls, found: object) -> LatencyHistogram:
        """Return the histogram that `to_dict` gave.

        Raises:
            ValueError: it is none.
        """
        if not isinstance(found, dict):
            raise ValueError("latency is not an object of counts by bucket")
        counts = {}
        for name, count in found.items():
            if name not in _BUCKET_OF:
                raise ValueError(f"latency has no bucket {name!r:.40}")
            if type(count) is not int or not 1 <= count <= MOST:
                raise ValueError(f"latency has a count that is not from 1 to {MOST}")
            counts[_BUCKET_OF[name]] = count
        return cls(counts.items())
