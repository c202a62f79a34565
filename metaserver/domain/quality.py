"""What apps feel of the shards of a pool: sums of the reports of its clients. No clock.

    report of a client --> a bucket of one second, and of one minute, of the pool
                       +--> a bucket of one minute of the client
                       +--> the totals since the process started --published()--> other processes
    what another process has counted since it was last looked at --> the buckets of the pool

So every process has the buckets of all, and the totals and clients of its own.
All is bounded: the buckets, the shards to those of the pool, the clients to those heard last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cachemesh.core.quality.histogram import LatencyHistogram
from cachemesh.core.quality.report import BREAKERS, ShardQuality
from metaserver.domain.published_quality import PublishedQuality

SECONDS, MINUTES = 120, 60
"""How many buckets of one second, and of one minute, are kept for a pool."""

ANY = ""
"""Stands for any shard."""

_CLIENT_MINUTES = 3
_MOST_CLIENTS = 2_000
_MOST_SHOWN = 100
_REPORTING = 60.0  # seconds since its last report for which a client counts as reporting
_LEAST_SECONDS = 10.0  # of a rate: a client's report is of about as many


class QualitySum:
    """The sum of reports about one shard, or about all shards of a client."""

    __slots__ = ("calls", "errors", "latency")

    def __init__(self) -> None:
        self.calls = 0
        self.errors: dict[str, int] = {}
        self.latency = LatencyHistogram()

    def add(self, other: ShardQuality | QualitySum) -> None:
        """Add a report, or another sum."""
        self.calls += other.calls
        add_counts(self.errors, other.errors)
        self.latency.add(other.latency)

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


@dataclass
class _ReportingClient:
    """What one client has reported: sums by the minute, when last, and breakers not closed then."""

    ring: QualityRing = field(default_factory=lambda: QualityRing(60, _CLIENT_MINUTES))
    at: float = 0.0
    breakers: Mapping[str, str] = field(default_factory=dict)


class PoolQuality:
    """What apps feel of one pool.

    Args:
        began: when counting began, on the clock of the other methods.
        lease: seconds after which a client that was not heard again counts no more as one with an
            open breaker.

    Attributes:
        totals: by shard, what the clients of this process have felt since it started.
        elsewhere: what other processes have published last, by owner.
    """

    def __init__(self, began: float = 0.0, lease: float = 30.0) -> None:
        self._began = began
        self._lease = lease
        self._seconds = QualityRing(1, SECONDS)
        self._minutes = QualityRing(60, MINUTES)
        self._clients: dict[str, _ReportingClient] = {}  # in the order of their last report
        self.totals: dict[str, QualitySum] = {}
        self.elsewhere: dict[str, PublishedQuality] = {}

    def add(
        self, now: float, client: str, report: Mapping[str, ShardQuality], shards: Collection[str]
    ) -> None:
        """Add a client's report; shards that it does not name have a closed breaker.

        Args:
            now: seconds, on a clock that does not fall.
            client: its id.
            report: of any shards.
            shards: those of the pool; a report on others is ignored.
        """
        known = {shard: report[shard] for shard in report if shard in shards}
        if not known:
            if client in self._clients:
                self._clients[client].breakers = {}
            return
        found = self._clients.pop(client, None) or _ReportingClient()
        for shard, quality in known.items():
            self._count(now, shard, quality)
            found.ring.add(now, ANY, quality)
            self.totals.setdefault(shard, QualitySum()).add(quality)
        found.at = now
        found.breakers = {
            shard: quality.breaker
            for shard, quality in known.items()
            if quality.breaker != "closed"
        }
        self._clients[client] = found
        while len(self._clients) > _MOST_CLIENTS:
            del self._clients[next(iter(self._clients))]

    def take_over(
        self, now: float, owner: str, published: PublishedQuality, shards: Collection[str]
    ) -> None:
        """Add what another process has counted since the last call.

        What it had counted before the first call is not added: nobody knows when that was.
        """
        before, self.elsewhere[owner] = self.elsewhere.get(owner), published
        for shard, quality in published.since(before).items():
            if shard in shards:
                self._count(now, shard, quality)

    def _count(self, now: float, shard: str, quality: ShardQuality) -> None:
        self._seconds.add(now, shard, quality)
        self._minutes.add(now, shard, quality)

    def forget(self, shards: Collection[str]) -> None:
        """Forget the totals of shards that the pool has no more."""
        for shard in [each for each in self.totals if each not in shards]:
            del self.totals[shard]

    def published(self, now: float, shards: int, clients: int) -> PublishedQuality:
        """Return what other processes are told.

        Args:
            shards: how many to tell of at most: the first ones, so that they stay the same.
            clients: how many to name at most.
        """
        told = list(self.totals.items())[:shards]
        return PublishedQuality(
            {shard: ShardQuality(s.calls, s.errors, s.latency) for shard, s in told},
            self._breakers(now),
            self._reporting(now),
            tuple(self._worst_clients(now)[:clients]),
            len(told) == len(self.totals),
        )

    def _breakers(self, now: float) -> dict[str, dict[str, int]]:
        """Return by shard, and for ANY of them, in how many clients the breaker is in which state.

        A client with one open breaker and one half open is among those with an open one.
        """
        found: dict[str, dict[str, int]] = {}
        for client in self._clients.values():
            if client.breakers and now - client.at <= self._lease:
                worst = max(client.breakers.values(), key=BREAKERS.index)
                for shard, state in {**client.breakers, ANY: worst}.items():
                    add_counts(found.setdefault(shard, {}), {state: 1})
        return found

    def _reporting(self, now: float) -> int:
        return sum(now - client.at <= _REPORTING for client in self._clients.values())

    def _worst_clients(self, now: float) -> list[dict[str, Any]]:
        seconds = min(60.0 + now % 60, max(now - self._began, _LEAST_SECONDS))
        found = [
            {"client": client, **sums[ANY].to_dict(seconds)}
            for client, each in self._clients.items()
            if (sums := summed(sums for _, sums in each.ring.since(now - 60)))
        ]
        return sorted(found, key=_badness)

    def shards(self, now: float, seconds: int) -> dict[str, QualitySum]:
        """Return what was felt of each shard in the last seconds, up to an hour."""
        ring = self._seconds if seconds <= SECONDS else self._minutes
        return summed(sums for _, sums in ring.since(now - seconds))

    def between(self, begin: int, end: int) -> dict[str, QualitySum]:
        """Return what was felt of each shard from one whole second on and before another one.

        Args:
            begin: within the last SECONDS.
        """
        return summed(sums for at, sums in self._seconds.since(begin) if at < end)

    def to_dict(self, now: float, at: float, seconds: int) -> dict[str, Any]:
        """Return all as docs/api.md shows it.

        Args:
            now: as for `add`.
            at: `now` in seconds since the epoch is `now + at`.
            seconds: of the sums by shard.
        """
        others = self.elsewhere.values()
        breakers = self._breakers(now)
        clients: list[Mapping[str, Any]] = [*self._worst_clients(now)]
        for other in others:
            clients += other.clients
            for shard, states in other.breakers.items():
                add_counts(breakers.setdefault(shard, {}), states)
        felt = self.shards(now, seconds)
        over = min(float(seconds), max(now - self._began, _LEAST_SECONDS))
        total, of_any = QualitySum(), breakers.pop(ANY, {})
        for each in felt.values():
            total.add(each)
        return {
            "seconds": seconds,
            "since": self._began + at,
            "reporting": self._reporting(now) + sum(other.reporting for other in others),
            "total": {**total.to_dict(over), "breakers": dict(sorted(of_any.items()))},
            "shards": [
                {
                    "shard": shard,
                    **felt.get(shard, QualitySum()).to_dict(over),
                    "breakers": dict(sorted(breakers.get(shard, {}).items())),
                }
                for shard in sorted({*felt, *breakers})
            ],
            "minutes": [
                {"at": begin + at, "shard": shard, **found.to_dict(60)}
                for begin, sums in self._minutes.since(0.0)
                for shard, found in sorted(sums.items())
            ],
            "clients": sorted(clients, key=_badness)[:_MOST_SHOWN],
        }


def summed(buckets: Iterable[Mapping[str, QualitySum]]) -> dict[str, QualitySum]:
    """Return the sum of several buckets."""
    found: dict[str, QualitySum] = {}
    for sums in buckets:
        for name, each in sums.items():
            found.setdefault(name, QualitySum()).add(each)
    return found


def add_counts(to: dict[str, int], counts: Mapping[str, int]) -> None:
    """Add counts by name to others."""
    for name, count in counts.items():
        to[name] = to.get(name, 0) + count


def _badness(client: Mapping[str, Any]) -> tuple[float, float]:
    return -client["errors_per_second"], -(client["p99"] or 0.0)
