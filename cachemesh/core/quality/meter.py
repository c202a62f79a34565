"""What a client counts of one shard, on the path of every command: as little as possible.

Every call is counted; one of sixteen is timed, and counts for all of them. What fails, or has to be
sent again, leaves that path: there all is counted.
"""

from __future__ import annotations

from cachemesh.core.quality.histogram import BUCKETS, LatencyHistogram, bucket_of
from cachemesh.core.quality.report import ShardQuality
from cachemesh.core.resilience.error_classification import BreakerOpenError, Failure, failure_of

SKIPPED = 15
"""A mask: a call is timed if the number of calls has none of these bits."""

_NAMES = {
    Failure.NOT_SENT: "not-connected",
    Failure.NOT_MASTER: "not-master",
    Failure.NOT_READY: "not-ready",
    Failure.LACKS_REPLICAS: "other",
    Failure.BROKEN: "broken",
    Failure.NO_REPLY: "timeout",
}


class QualityMeter:
    """The counts of one shard. Threads may share a meter: at worst a count is lost between two.

    Attributes:
        calls: requests that were answered.
    """

    __slots__ = ("_counts", "_errors", "_told", "calls")

    def __init__(self) -> None:
        self.calls = 0
        self._counts = [0] * BUCKETS
        self._errors: dict[str, int] = {}
        self._told: tuple[int, list[int], dict[str, int]] = 0, [0] * BUCKETS, {}

    def timed(self, seconds: float, weight: int = SKIPPED + 1) -> None:
        """Count the latency of a call that counts for so many."""
        self._counts[bucket_of(seconds)] += weight

    def answered(self, seconds: float) -> None:
        """Count a call, whose latency is known anyway."""
        self.calls += 1
        self.timed(seconds, 1)

    def failed(self, error: Exception) -> None:
        """Count a call that the app gets an error for, because the shard did not serve."""
        failure = failure_of(error)
        name = "breaker-open" if isinstance(error, BreakerOpenError) else "other"
        if name == "other" and failure is not None:
            name = _NAMES[failure]
        self._errors[name] = self._errors.get(name, 0) + 1

    def since_last(self, breaker: str) -> ShardQuality:
        """Return what was counted since the last call of this method.

        Args:
            breaker: the state of the master's breaker.
        """
        now = self.calls, list(self._counts), dict(self._errors)
        calls, counts, errors = self._told
        self._told = now
        new = {name: count - errors.get(name, 0) for name, count in now[2].items()}
        return ShardQuality(
            now[0] - calls,
            {name: count for name, count in new.items() if count},
            LatencyHistogram(
                (bucket, count - counts[bucket]) for bucket, count in enumerate(now[1])
            ),
            breaker,
        )
