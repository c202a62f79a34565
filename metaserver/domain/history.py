"""What is kept of a pool's figures over time, and how they add up.

    status, counters of masters, reports of apps --points_of--> a point of 5 s, kept for an hour
                                                        | combined
                                                        v
                                                    a point of 60 s, kept for a day

A point has sums (commands, hits, calls, ...), and of levels (memory, keys, lag, ...) the highest.
So a rate of a longer time is exact; a p99 of a longer time is at most what stands there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from metaserver.domain.info_fields import number
from metaserver.domain.quality import QualitySum
from metaserver.domain.status import InstanceSample

Number: TypeAlias = "int | float | None"

WHOLE_POOL = ""
"""Stands where a shard's name does, for the pool as a whole."""

MOST_POINTS = 1500
"""Of one answer, give or take the first and the last one, which may be of less time."""

_USUAL_POINTS = 360
_MOST = 2**53 - 1  # what every JSON parser keeps exactly; INFO may say anything
_COUNTED = {
    "commands": "total_commands_processed",
    "hits": "keyspace_hits",
    "misses": "keyspace_misses",
    "evictions": "evicted_keys",
}
"""The sums of a point that are counters of INFO."""


@dataclass(frozen=True)
class HistoryLevel:
    """How long points of one length are kept.

    Attributes:
        step: seconds of a point.
        points: how many are kept of each shard; a later one takes the place of the oldest.
    """

    step: int
    points: int

    @property
    def seconds(self) -> int:
        """For how long a point is kept."""
        return self.step * self.points

    def begin(self, at: float) -> int:
        """Return when the point of this moment begins, in seconds since the epoch."""
        return int(at // self.step) * self.step

    def slot(self, at: int) -> int:
        """Return the place of the point that begins then, among those that are kept."""
        return at // self.step % self.points


# Somewhat more than an hour and a day, for whoever asks about these and takes a moment to do so.
FINE = HistoryLevel(5, 732)
COARSE = HistoryLevel(60, 1500)


class HistoryPoint(NamedTuple):
    """What is known of a shard's master, or of a pool, of some seconds. None: not known.

    Attributes:
        seconds: for which commands, hits, misses and evictions were counted.
        felt_seconds: for which calls and errors were counted, as apps report them.
        peak: the most commands a second, of five seconds.
        maxmemory: bytes; 0 for no bound, and of a pool with a shard that has none.
        clients: connections of the master; of a pool, its live clients.
        lag_bytes, lag_seconds: of the replica that is furthest behind.
        p50, p99: seconds, as apps measure them.
    """

    seconds: Number = None
    commands: Number = None
    hits: Number = None
    misses: Number = None
    evictions: Number = None
    felt_seconds: Number = None
    calls: Number = None
    errors: Number = None
    peak: Number = None
    used_memory: Number = None
    maxmemory: Number = None
    keys: Number = None
    clients: Number = None
    lag_bytes: Number = None
    lag_seconds: Number = None
    p50: Number = None
    p99: Number = None


SUMS = ("seconds", *_COUNTED, "felt_seconds", "calls", "errors")
"""The fields that add up over time; of the others the highest counts."""

_OF_ALL_SHARDS = (*_COUNTED, "peak", "used_memory", "keys")  # add up to those of the pool


@dataclass(frozen=True)
class ServerCounts:
    """Counters of a server at one moment.

    Attributes:
        run_id: of the server's process; another one begins to count anew.
        at: monotonic seconds.
        counts: by field of a point.
    """

    run_id: str
    at: float
    counts: Mapping[str, int]


def counts_of(
    status: Mapping[str, Any], samples: Mapping[str, InstanceSample]
) -> dict[str, ServerCounts]:
    """Return the counters of each shard's master that answers.

    Args:
        status: of the pool.
        samples: by address, those that the status was made from.
    """
    found = {}
    for shard in status["shards"]:
        sample = samples.get(shard["master"]["address"] or "")
        if sample is not None and sample.error is None:
            counts = {name: number(sample.info, counter) for name, counter in _COUNTED.items()}
            run_id = sample.info.get("run_id", "")
            found[str(shard["name"])] = ServerCounts(run_id, sample.at, counts)
    return found


def points_of(
    status: Mapping[str, Any],
    counts: Mapping[str, ServerCounts],
    before: Mapping[str, ServerCounts],
    felt: Mapping[str, QualitySum],
    felt_seconds: int,
) -> dict[str, HistoryPoint]:
    """Return the point of each shard, and that of WHOLE_POOL.

    Args:
        status: of the pool.
        counts, before: the counters of now, and those of the last point, by shard.
        felt: what apps have reported since then, by shard.
        felt_seconds: how long that is.
    """
    points = {}
    for shard in status["shards"]:
        name = str(shard["name"])
        points[name] = HistoryPoint(
            **_levels(shard),
            **_grown(counts.get(name), before.get(name)),
            **_felt(felt.get(name), felt_seconds),
        )
    return {**points, WHOLE_POOL: _of_pool(status, list(points.values()), felt, felt_seconds)}


def _levels(shard: Mapping[str, Any]) -> dict[str, Number]:
    master, replicas = shard["master"], shard["replicas"]
    return {
        **{name: _whole(master[name]) for name in ("used_memory", "maxmemory", "keys", "clients")},
        **{
            name: _highest(_whole(replica[name]) for replica in replicas)
            for name in ("lag_bytes", "lag_seconds")
        },
    }


def _grown(now: ServerCounts | None, before: ServerCounts | None) -> dict[str, Number]:
    """Return what a server has counted between two moments, unless it has begun anew there."""
    if now is None or before is None or now.run_id != before.run_id or now.at <= before.at:
        return {}
    grown = {name: count - before.counts[name] for name, count in now.counts.items()}
    if min(grown.values()) < 0:
        return {}  # CONFIG RESETSTAT has set the counters back to 0
    seconds = now.at - before.at
    whole = {name: _whole(count) for name, count in grown.items()}
    return {**whole, "seconds": seconds, "peak": (whole["commands"] or 0) / seconds}


def _felt(felt: QualitySum | None, seconds: int) -> dict[str, Number]:
    if felt is None:
        return {"felt_seconds": seconds}
    return {
        "felt_seconds": seconds,
        "calls": _whole(felt.calls),
        "errors": _whole(sum(felt.errors.values())),
        "p50": felt.latency.quantile(0.5),
        "p99": felt.latency.quantile(0.99),
    }


def _of_pool(
    status: Mapping[str, Any],
    shards: Sequence[HistoryPoint],
    felt: Mapping[str, QualitySum],
    felt_seconds: int,
) -> HistoryPoint:
    total = QualitySum()
    for each in felt.values():
        total.add(each)
    limits = [point.maxmemory for point in shards if point.maxmemory is not None]
    added = {name: _added(getattr(point, name) for point in shards) for name in _OF_ALL_SHARDS}
    return HistoryPoint(
        **added,
        **_felt(total if felt else None, felt_seconds),
        seconds=_highest(point.seconds for point in shards),
        maxmemory=(_added(limits) if all(limits) else 0) if limits else None,
        clients=_whole(status["clients"]),
        lag_bytes=_highest(point.lag_bytes for point in shards),
        lag_seconds=_highest(point.lag_seconds for point in shards),
    )


def combined(points: Sequence[HistoryPoint]) -> HistoryPoint:
    """Return the point of the time that several points of one series have together."""
    if len(points) == 1:
        return points[0]
    columns = zip(*points, strict=True)
    return HistoryPoint(*[add(values) for add, values in zip(_OVER_TIME, columns, strict=True)])


def resampled(
    points: Iterable[tuple[int, HistoryPoint]], step: int
) -> list[tuple[int, HistoryPoint]]:
    """Return points of `step` seconds, made of shorter ones; a time without a point has none.

    Args:
        points: each with when it begins, oldest first.
    """
    groups: dict[int, list[HistoryPoint]] = {}
    for at, point in points:
        groups.setdefault(at // step * step, []).append(point)
    return [(at, combined(group)) for at, group in groups.items()]


def level_for(seconds: float) -> HistoryLevel:
    """Return the level that answers about the last `seconds`."""
    return FINE if seconds <= FINE.seconds else COARSE


def step_for(seconds: float, wanted: int | None) -> int:
    """Return how many seconds each point of an answer is of.

    Args:
        seconds: that the answer is about, up to now.
        wanted: seconds of a point; None: so many that there are some hundred points.

    Returns:
        A multiple of the step of the points that are kept for so long; `wanted` or more.
    """
    kept = level_for(seconds).step
    least = wanted or math.ceil(seconds / _USUAL_POINTS)
    return math.ceil(max(least, seconds / MOST_POINTS, 1) / kept) * kept


def shown(point: HistoryPoint, step: int) -> dict[str, Number]:
    """Return a point of so many seconds as docs/api.md has it, without its time."""
    return {
        "ops_per_second": _rate(point.commands, point.seconds),
        "ops_peak": _rounded(point.peak, 3),
        "hit_ratio": _hit_ratio(point),
        "evictions_per_second": _rate(point.evictions, point.seconds),
        "used_memory": point.used_memory,
        "maxmemory": point.maxmemory,
        "keys": point.keys,
        "clients": point.clients,
        "lag_bytes": point.lag_bytes,
        "lag_seconds": point.lag_seconds,
        "calls_per_second": _rate(point.calls, point.felt_seconds or step),
        "errors_per_second": _rate(point.errors, point.felt_seconds or step),
        "p50": point.p50,
        "p99": point.p99,
    }


def _hit_ratio(point: HistoryPoint) -> float | None:
    reads = (point.hits or 0) + (point.misses or 0)
    return round((point.hits or 0) / reads, 4) if reads else None


def _rate(count: Number, seconds: Number) -> float | None:
    return None if count is None or not seconds else round(count / seconds, 3)


def _rounded(value: Number, digits: int) -> Number:
    return None if value is None else round(value, digits)


def _whole(value: int | None) -> int | None:
    return None if value is None else min(max(value, 0), _MOST)


def _added(values: Iterable[Number]) -> Number:
    known = [value for value in values if value is not None]
    return min(sum(known), _MOST) if known else None


def _highest(values: Iterable[Number]) -> Number:
    known = [value for value in values if value is not None]
    return max(known) if known else None


_OVER_TIME = tuple(_added if name in SUMS else _highest for name in HistoryPoint._fields)
