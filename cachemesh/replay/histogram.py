"""Counts latencies in buckets whose width grows with the latency: constant size and relative error.

Bucket ``i`` counts the latencies from ``GROWTH**i`` to ``GROWTH**(i+1)`` nanoseconds and stands for
their geometric mean, so that a quantile is wrong by 1% at most. To record a latency takes one
logarithm and one addition; the runner has these inline instead of a call of `bucket`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, log

GROWTH = 1.02
SCALE = 1 / log(GROWTH)
BUCKETS = 1400
"""Enough for 18 minutes; longer latencies count in the last bucket."""


def bucket(nanoseconds: int) -> int:
    """Return the index of the bucket that counts a latency of at least 1 ns."""
    return min(int(log(nanoseconds) * SCALE), BUCKETS - 1)


def merged(histograms: Iterable[Sequence[int]]) -> list[int]:
    """Return the sum of several histograms."""
    return [sum(counts) for counts in zip(*histograms, strict=True)]


def quantile_us(counts: Sequence[int], share: float) -> float | None:
    """Return a quantile in microseconds, or None if nothing was recorded.

    Args:
        counts: the histogram.
        share: which quantile, from 0 to 1: the share of operations that were no slower.
    """
    total = sum(counts)
    if not total:
        return None
    rank = max(1, ceil(total * share))
    seen = 0
    for index, count in enumerate(counts):
        seen += count
        if seen >= rank:
            return round(float(GROWTH ** (index + 0.5)) / 1000, 1)
    raise AssertionError("unreachable: the counts sum to total")
