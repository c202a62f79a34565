"""What apps feel of the shards of a pool: sums of the reports of its clients. No clock.

    report of a client --> a bucket of one second, and of one minute, of the pool
                       +--> a bucket of one minute of the client

All is bounded: the buckets, the shards to those of the pool, the clients to those heard last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from cachemesh.core.quality.histogram import LatencyHistogram
from cachemesh.core.quality.report import ShardQuality

SECONDS, MINUTES = 120, 60
"""How many buckets of one second, and of one minute, are kept for a pool."""

_CLIENT_MINUTES = 3
_MOST_CLIENTS = 2_000
_MOST_SHOWN = 100


class QualitySum:
    """The sum of reports about one shard, or about all shards of a client."""

    __slots__ = ("breakers", "calls", "errors", "latency")

    def __init__(self) -> None:
        self.calls = 0
        self.errors: dict[str, int] = {}
        self.latency = LatencyHistogram()
        self.breakers: dict[str, int] = {}  # reports by the state of the breaker, if not closed

    def add(self, quality: ShardQuality) -> None:
        """Add a report."""
        self.calls += quality.calls
        _add_counts(self.errors, quality.errors)
        self.latency.add(quality.latency)
        if quality.breaker != "closed":
            _add_counts(self.breakers, {quality.breaker: 1})

    def join(self, other: QualitySum) -> None:
        """Add another sum."""
        self.calls += other.calls
        _add_counts(self.errors, other.errors)
        self.latency.add(other.latency)
        _add_counts(self.breakers, other.breakers)

    def to_dict(self, seconds: float) -> dict[str, Any]:
        """Return the sum as docs/api.md shows it.

        Args:
            seconds: in which it was felt.
        """
        failed = sum(self.errors.values())
        return {
            "calls": self.calls,
            "calls_per_second": round(self.calls / seconds, 3),
            "errors": dict(sorted(self.errors.items())),
            "errors_per_second": round(failed / seconds, 3),
            "p50": self.latency.quantile(0.5),
            "p99": self.latency.quantile(0.99),
            "max": self.latency.quantile(1.0),
            "breakers": dict(sorted(self.breakers.items())),
        }


class QualityRing:
    """Sums by shard in the last buckets of so many seconds each."""

    def __init__(self, width: int, buckets: int) -> None:
        self._width = width
        self._buckets: deque[tuple[int, dict[str, QualitySum]]] = deque(maxlen=buckets)

    def add(self, now: float, shard: str, quality: ShardQuality) -> None:
        """Add what was reported at a time that does not fall."""
        at = int(now // self._width)
        if not self._buckets or self._buckets[-1][0] < at:
            self._buckets.append((at, {}))
        self._buckets[-1][1].setdefault(shard, QualitySum()).add(quality)

    def since(self, begin: float) -> Iterator[tuple[float, Mapping[str, QualitySum]]]:
        """Yield the buckets that begin after this time, oldest first, each with its beginning."""
        for at, sums in self._buckets:
            if at * self._width > begin - self._width:
                yield float(at * self._width), sums


class PoolQuality:
    """What apps feel of one pool."""

    def __init__(self) -> None:
        self._seconds = QualityRing(1, SECONDS)
        self._minutes = QualityRing(60, MINUTES)
        self._clients: dict[str, QualityRing] = {}  # in the order of their last report
        self.totals: dict[str, QualitySum] = {}  # since the process started

    def add(
        self, now: float, client: str, report: Mapping[str, ShardQuality], shards: Collection[str]
    ) -> None:
        """Add a client's report.

        Args:
            now: seconds, on a clock that does not fall.
            client: its id.
            report: of any shards.
            shards: those of the pool; a report on others is ignored.
        """
        known = {shard: report[shard] for shard in report if shard in shards}
        ring = self._clients.pop(client, None) or QualityRing(60, _CLIENT_MINUTES)
        for shard, quality in known.items():
            self._seconds.add(now, shard, quality)
            self._minutes.add(now, shard, quality)
            ring.add(now, "", quality)
            self.totals.setdefault(shard, QualitySum()).add(quality)
        self._clients[client] = ring
        while len(self._clients) > _MOST_CLIENTS:
            del self._clients[next(iter(self._clients))]

    def forget(self, shards: Collection[str]) -> None:
        """Forget the totals of shards that the pool has no more."""
        for shard in [each for each in self.totals if each not in shards]:
            del self.totals[shard]

    def shards(self, now: float, seconds: int) -> dict[str, QualitySum]:
        """Return what was felt of each shard in the last seconds, up to an hour."""
        ring = self._seconds if seconds <= SECONDS else self._minutes
        return summed(sums for _, sums in ring.since(now - seconds))

    def to_dict(self, now: float, at: float, seconds: int) -> dict[str, Any]:
        """Return all as docs/api.md shows it.

        Args:
            now: as for `add`.
            at: `now` in seconds since the epoch is `now + at`.
            seconds: of the sums by shard.
        """
        by_client = {
            client: summed(sums for _, sums in ring.since(now - 60)).get("")
            for client, ring in self._clients.items()
        }
        clients = [
            {"client": client, **found.to_dict(min(120.0, 60.0 + now % 60))}
            for client, found in by_client.items()
            if found is not None
        ]
        clients.sort(key=lambda each: (-each["errors_per_second"], -(each["p99"] or 0.0)))
        return {
            "seconds": seconds,
            "shards": [
                {"shard": shard, **found.to_dict(seconds)}
                for shard, found in sorted(self.shards(now, seconds).items())
            ],
            "minutes": [
                {"at": begin + at, "shard": shard, **found.to_dict(60)}
                for begin, sums in self._minutes.since(0.0)
                for shard, found in sorted(sums.items())
            ],
            "clients": clients[:_MOST_SHOWN],
        }


def summed(buckets: Iterable[Mapping[str, QualitySum]]) -> dict[str, QualitySum]:
    """Return the sum of several buckets."""
    found: dict[str, QualitySum] = {}
    for sums in buckets:
        for name, each in sums.items():
            found.setdefault(name, QualitySum()).join(each)
    return found


def _add_counts(to: dict[str, int], counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        to[name] = to.get(name, 0) + count
