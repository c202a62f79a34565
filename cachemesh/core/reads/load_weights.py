"""Load weights: the share of the reads an instance gets, from its replies lately. No clock.

    weight = 0                                      while its last outcome was a failure, else
             success rate of the last 10 seconds
             * recovery                             2^-n after n failures in a row, back to 1
                                                    along a straight line in 10 seconds
             * speed                                lowest mean latency of all / its own, >= 0.1

So a failure takes the whole weight at once; a success (of a probe, for no app asks the instance)
brings back a part, and time the rest.

Sources: HAProxy's ``slowstart`` and nginx's ``slow_start`` let the weight rise in time after a
recovery; Envoy's slow start goes from 10 % on, and its outlier detection ejects for longer each
time (docs.haproxy.org, nginx.org/en/docs/http/ngx_http_upstream_module.html#slow_start,
envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier). None weighs by latency.
"""

from __future__ import annotations

SECONDS = 10
"""Seconds of the window, and of a recovery."""

LEAST_SPEED = 0.1
"""The lowest speed: a slow instance still gets some reads, which show when it is faster."""


class LoadWindow:
    """The outcomes of the last seconds of one instance, in a bucket for each second.

    Threads may share a window: at worst a count is lost between two of them.

    Attributes:
        failures: failures in a row; 0 if the last outcome was a success, or there was none.
    """

    __slots__ = ("_back", "_done", "_seconds", "_start", "_totals", "_tried", "_until", "failures")

    def __init__(self) -> None:
        self.failures = 0
        self._tried = [0] * SECONDS
        self._done = [0] * SECONDS
        self._seconds = [0.0] * SECONDS
        self._until = 0  # the second whose bucket is filled now
        self._totals = (0, 0, 0.0)  # of the other buckets
        self._start = 1.0  # the recovery began with this,
        self._back = float("-inf")  # at this time

    def succeeded(self, now: float, seconds: float) -> None:
        """Record a reply that took so many seconds."""
        at = self._bucket(now)
        self._tried[at] += 1
        self._done[at] += 1
        self._seconds[at] += seconds
        if self.failures:
            self._start, self._back = 2.0**-self.failures, now
            self.failures = 0

    def failed(self, now: float) -> None:
        """Record that the instance did not serve."""
        self._tried[self._bucket(now)] += 1
        self.failures = min(self.failures + 1, 50)

    def success_rate(self, now: float) -> float:
        """Return the share of the attempts that succeeded; 1 if there was no attempt."""
        at = self._bucket(now)
        tried, done, _ = self._totals
        tried += self._tried[at]
        return min(1.0, (done + self._done[at]) / tried) if tried else 1.0

    def latency(self, now: float) -> float | None:
        """Return the mean seconds of the replies; None if there was no reply."""
        at = self._bucket(now)
        _, done, seconds = self._totals
        done += self._done[at]
        return (seconds + self._seconds[at]) / done if done else None

    def weight(self, now: float, best: float | None) -> float:
        """Return the weight, from 0 to 1.

        Args:
            now: the time.
            best: the lowest latency of the instances it is compared with.
        """
        if self.failures:
            return 0.0
        recovered = min(1.0, max(0.0, now - self._back) / SECONDS)
        weight = self.success_rate(now) * (self._start + (1.0 - self._start) * recovered)
        own = self.latency(now)
        if best is None or own is None or own <= best:
            return weight
        return weight * max(LEAST_SPEED, best / own)

    def _bucket(self, now: float) -> int:
        second = int(now)
        if second > self._until:
            for passed in range(max(self._until + 1, second - SECONDS + 1), second + 1):
                at = passed % SECONDS
                self._tried[at] = self._done[at] = 0
                self._seconds[at] = 0.0
            # The new bucket is empty: these are the totals of the others.
            self._totals = sum(self._tried), sum(self._done), sum(self._seconds)
            self._until = second
        return self._until % SECONDS
