"""The results of a replay as plain values: at its end, so far, and for each second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cachemesh.replay.histogram import quantile_us

EPISODE_GAP_S = 1.0
"""Failures less than this many seconds apart count as one episode."""


def hit_ratio(hits: int, misses: int) -> float | None:
    """Return the share of hits among the answered GETs, or None if there were none."""
    answered = hits + misses
    return round(hits / answered, 6) if answered else None


@dataclass(frozen=True)
class Latency:
    """Quantiles of latency in microseconds, each None if nothing was measured."""

    p50_us: float | None
    p99_us: float | None
    p999_us: float | None

    @classmethod
    def of(cls, histogram: Sequence[int]) -> Latency:
        """Read the quantiles from a histogram."""
        return cls(
            quantile_us(histogram, 0.5),
            quantile_us(histogram, 0.99),
            quantile_us(histogram, 0.999),
        )

    def to_dict(self) -> dict[str, float | None]:
        """Return JSON-ready values."""
        return {"p50_us": self.p50_us, "p99_us": self.p99_us, "p999_us": self.p999_us}


@dataclass(frozen=True)
class ErrorWindow:
    """When operations failed, in seconds since the start of the replay.

    Attributes:
        first_s: when the first failed operation began.
        last_s: when the last failed operation ended.
        longest_s: length of the longest episode: a series of failures with less than
            `EPISODE_GAP_S` from the end of one to the beginning of the next.
    """

    first_s: float
    last_s: float
    longest_s: float

    def to_dict(self) -> dict[str, float]:
        """Return JSON-ready values."""
        return {"first_s": self.first_s, "last_s": self.last_s, "longest_s": self.longest_s}


@dataclass(frozen=True)
class Counts:
    """Totals of a stretch of a replay.

    Attributes:
        operations, hits, misses, errors, wrong: as in `ReplayResult`.
        gets: histogram of the latencies of answered GETs.
        whole: histogram of the latencies of whole operations.
    """

    operations: int
    hits: int
    misses: int
    errors: int
    wrong: int
    gets: Sequence[int] = field(repr=False)
    whole: Sequence[int] = field(repr=False)

    def since(self, before: Counts) -> Counts:
        """Return the difference to an earlier state of the same totals."""
        return Counts(
            self.operations - before.operations,
            self.hits - before.hits,
            self.misses - before.misses,
            self.errors - before.errors,
            self.wrong - before.wrong,
            [now - then for now, then in zip(self.gets, before.gets, strict=True)],
            [now - then for now, then in zip(self.whole, before.whole, strict=True)],
        )


@dataclass(frozen=True)
class ReplayWindow:
    """What a replay did in a stretch of about a second.

    Attributes:
        start_s: when the stretch began, in seconds since the start of the replay.
        seconds: its length.
        operations, hits, misses, errors: counts within the stretch, as in `ReplayResult`.
        latency: of whole operations within the stretch.
    """

    start_s: float
    seconds: float
    operations: int
    hits: int
    misses: int
    errors: int
    latency: Latency

    @classmethod
    def of(cls, start_s: float, seconds: float, counts: Counts) -> ReplayWindow:
        """Make a window of the counts within it."""
        return cls(
            start_s,
            seconds,
            counts.operations,
            counts.hits,
            counts.misses,
            counts.errors,
            Latency.of(counts.whole),
        )

    @property
    def operations_per_second(self) -> float:
        """Operations divided by seconds; 0 before the first."""
        return self.operations / self.seconds if self.seconds else 0.0

    @property
    def hit_ratio(self) -> float | None:
        """The share of hits among the answered GETs; None if there were none."""
        return hit_ratio(self.hits, self.misses)


@dataclass(frozen=True)
class ReplayProgress:
    """The state of a running replay, which the progress callback gets.

    Attributes:
        seconds: since the start.
        operations, hits, misses, errors, wrong: counts so far, as in `ReplayResult`.
        total: the number of operations there will be, None if unknown.
        windows: the completed seconds, oldest first.
    """

    seconds: float
    operations: int
    hits: int
    misses: int
    errors: int
    wrong: int
    total: int | None
    windows: Sequence[ReplayWindow]

    @property
    def hit_ratio(self) -> float | None:
        """The share of hits among the answered GETs; None if there were none."""
        return hit_ratio(self.hits, self.misses)

    @property
    def operations_per_second(self) -> float:
        """Operations divided by seconds; 0 before the first."""
        return self.operations / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class ReplayResult:
    """The outcome of a replay.

    Attributes:
        complete: False if the replay was stopped before the trace, its limit or its duration ended.
        operations: accesses made; each is a hit, a miss, or a GET that failed.
        hits, misses: GETs that found a value, or none.
        errors: operations of which the GET, or the SET after a miss, failed.
        wrong: hits whose value was not that of their key (must be 0).
        errors_by_class: name of the exception -> operations that failed with it.
        error_examples: name of the exception -> its first message.
        error_window: when operations failed, None if none did.
        seconds: how long the replay took.
        latency: of whole operations (GET, and SET after a miss), those that failed included.
        get_latency: of GETs that were answered.
        max_us: the slowest operation in microseconds, None without any.
        keys_per_shard: keys each shard's master holds at the end, None if the client cannot tell.
    """

    complete: bool
    operations: int
    hits: int
    misses: int
    errors: int
    wrong: int
    errors_by_class: Mapping[str, int]
    error_examples: Mapping[str, str]
    error_window: ErrorWindow | None
    seconds: float
    latency: Latency
    get_latency: Latency
    max_us: float | None
    keys_per_shard: Mapping[str, int] | None = None

    @property
    def hit_ratio(self) -> float | None:
        """The share of hits among the answered GETs; None if there were none."""
        return hit_ratio(self.hits, self.misses)

    @property
    def operations_per_second(self) -> float:
        """Operations divided by seconds; 0 before the first."""
        return round(self.operations / self.seconds, 1) if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; the latencies at the top are those of whole operations."""
        window = self.error_window
        shards = self.keys_per_shard
        return {
            "complete": self.complete,
            "operations": self.operations,
            "hits": self.hits,
            "misses": self.misses,
            "errors": self.errors,
            "wrong": self.wrong,
            "hit_ratio": self.hit_ratio,
            "seconds": round(self.seconds, 3),
            "operations_per_second": self.operations_per_second,
            **self.latency.to_dict(),
            "max_us": self.max_us,
            "get": self.get_latency.to_dict(),
            "errors_by_class": dict(self.errors_by_class),
            "error_examples": dict(self.error_examples),
            "error_window": None if window is None else window.to_dict(),
            "keys_per_shard": None if shards is None else dict(shards),
        }
