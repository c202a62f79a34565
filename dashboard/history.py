"""Keeps the figures of a pool's last minutes in memory, for the sparklines.

Those of the pool begin with what the metaserver knows already, those of its shards with the first
browser that looks at the pool.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dashboard.format import parse_time

SPACING_SECONDS = 2.0
SAMPLES = 150
GAP_SECONDS = 10.0
"""From this long without a sample on, the lines have a gap."""


@dataclass(frozen=True)
class Figures:
    """Operations per second and hit ratio (0 to 1); None where unknown."""

    ops: float | None
    hit_ratio: float | None


@dataclass(frozen=True)
class HistorySample:
    """The figures of one moment: of the pool, and of each shard; `at` is in monotonic seconds."""

    at: float
    pool: Figures
    shards: Mapping[str, Figures]


def pool_figures(shards: Mapping[str, Figures]) -> Figures:
    """Return the pool's figures: the sum of operations, and the hit ratio weighted by them."""
    known = [each.ops for each in shards.values() if each.ops is not None]
    rated = [
        (each.ops or 0.0, each.hit_ratio) for each in shards.values() if each.hit_ratio is not None
    ]
    weight = sum(ops for ops, _ in rated)
    if weight > 0:
        ratio: float | None = sum(ops * hits for ops, hits in rated) / weight
    else:
        ratio = sum(hits for _, hits in rated) / len(rated) if rated else None
    return Figures(sum(known) if known else None, ratio)


def figures_of(status: Mapping[str, Any]) -> dict[str, Figures]:
    """Return the figures of each shard's master from a pool's status."""
    figures = {}
    for shard in status.get("shards", ()):
        master = shard.get("master") or {}
        figures[str(shard["name"])] = Figures(master.get("ops_per_second"), master.get("hit_ratio"))
    return figures


def past_samples(now: float, history: Mapping[str, Any]) -> list[HistorySample]:
    """Return the samples that there would be, had somebody looked; without those of shards.

    Args:
        now: in monotonic seconds.
        history: of the pool, as the metaserver tells it.
    """
    until, step = parse_time(history["until"]), int(history["step"])
    assert until is not None
    known = {
        int(at.timestamp()): Figures(point["ops_per_second"], point["hit_ratio"])
        for point in history["points"]
        if (at := parse_time(point["at"])) is not None
    }
    found = []
    for number in range(SAMPLES - 1, 0, -1):
        age = number * SPACING_SECONDS
        begin = int((until.timestamp() - age) // step) * step
        if begin not in known and begin + step > until.timestamp():
            begin -= step  # the step is not over, so that its point is still to come
        found.append(HistorySample(now - age, known.get(begin, Figures(None, None)), {}))
    return found


class History:
    """The last `SAMPLES` samples, `SPACING_SECONDS` apart: five minutes."""

    def __init__(self) -> None:
        self._samples: deque[HistorySample] = deque(maxlen=SAMPLES)

    def add(self, at: float, status: Mapping[str, Any]) -> None:
        """Add the figures of a status, unless a sample was added just before.

        Args:
            at: when the status was received, in monotonic seconds.
            status: of the pool.
        """
        if self._samples and at - self._samples[-1].at < SPACING_SECONDS * 0.75:
            return
        self._samples.extend(self._missed(at))
        shards = figures_of(status)
        self._samples.append(HistorySample(at, pool_figures(shards), shards))

    def _missed(self, at: float) -> list[HistorySample]:
        """Return samples of nothing for the time in which nothing was received, if it was long."""
        if not self._samples or at - self._samples[-1].at < GAP_SECONDS:
            return []
        last = self._samples[-1].at
        missed = min(SAMPLES, round((at - last) / SPACING_SECONDS) - 1)
        nothing = Figures(None, None)
        return [
            HistorySample(last + number * SPACING_SECONDS, nothing, {})
            for number in range(1, missed + 1)
        ]

    def begin_with(self, samples: Iterable[HistorySample]) -> None:
        """Take samples from before the first one."""
        self._samples.extend(samples)

    def samples(self) -> tuple[HistorySample, ...]:
        """Return all samples, oldest first."""
        return tuple(self._samples)
