"""Latencies in buckets whose width grows with the latency: constant size, constant error.

Bucket ``i`` holds the latencies of ``GROWTH**i`` to ``GROWTH**(i+1)`` nanoseconds, and stands for
the geometric middle of the two, so that a quantile read from it is off by 1% at most. Recording
is one logarithm and one addition, done in place by the runner (`bucket` says the same in full).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, log

GROWTH = 1.02
SCALE = 1 / log(GROWTH)
BUCKETS = 1400
"""Enough for 18 minutes; whatever takes longer counts in the last one."""


def bucket(nanoseconds: int) -> int:
    """The bucket that counts a latency, which is at least 1 ns."""
    return min(int(log(nanoseconds) * SCALE), BUCKETS - 1)


def merged(histograms: Iterable[Sequence[int]]) -> list[int]:
    """The sum of several histograms."""
    return [sum(counts) for counts in zip(*histograms, strict=True)]


def quantile_us(counts: Sequence[int], share: float) -> float | None:
    """The latency, in microseconds, that ``share`` (0 to 1) of the operations did not exceed.

    None if nothing was recorded.
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
