"""What one process tells the others of the quality that its clients report: totals, and who.

Totals only rise, so that whoever looks from time to time knows what was counted in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cachemesh.core.quality.histogram import LatencyHistogram
from cachemesh.core.quality.report import ShardQuality

_FIGURES = ("calls_per_second", "errors_per_second", "p50", "p99", "max")


@dataclass(frozen=True)
class PublishedQuality:
    """What a process has published about one pool.

    Attributes:
        totals: by shard, what its clients have felt since it started; the breakers count nothing.
        breakers: by shard ("": any shard), how many of its clients have the breaker in which
            state, if not closed.
        reporting: how many of its clients have reported lately.
        clients: those with most errors, then the slowest, as docs/api.md shows them.
        complete: whether the totals are of all shards.
    """

    totals: Mapping[str, ShardQuality] = field(default_factory=dict)
    breakers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    reporting: int = 0
    clients: tuple[Mapping[str, Any], ...] = ()
    complete: bool = True

    def since(self, before: PublishedQuality | None) -> dict[str, ShardQuality]:
        """Return what was counted of each shard since an earlier publication; None: nothing.

        A shard that is new among many may only be newly told of: it is counted from now on.
        """
        if before is None:
            return {}
        return {
            shard: new
            for shard, total in self.totals.items()
            if (before.complete or shard in before.totals)
            and (new := _difference(total, before.totals.get(shard, ShardQuality()))) is not None
        }

    def to_json(self) -> dict[str, Any]:
        """Return the form for JSON."""
        return {
            "shards": {shard: total.to_dict() for shard, total in self.totals.items()},
            "breakers": {shard: dict(states) for shard, states in self.breakers.items()},
            "reporting": self.reporting,
            "clients": [dict(client) for client in self.clients],
            "complete": self.complete,
        }

    @classmethod
    def from_json(cls, found: Any) -> PublishedQuality:
        """Return what `to_json` gave.

        Raises:
            ValueError: it is something else.
        """
        try:
            return cls(
                {str(s): ShardQuality.from_dict(total) for s, total in found["shards"].items()},
                {str(s): _counts(states) for s, states in found["breakers"].items()},
                int(found["reporting"]),
                tuple(_client(each) for each in found["clients"]),
                bool(found["complete"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it is no published quality: {error!r}") from error


def _difference(now: ShardQuality, before: ShardQuality) -> ShardQuality | None:
    """Return what was counted in between; None: nothing, or counting has begun anew."""
    errors = {kind: n - before.errors.get(kind, 0) for kind, n in now.errors.items()}
    latency = {b: n - before.latency.counts.get(b, 0) for b, n in now.latency.counts.items()}
    calls = now.calls - before.calls
    if min((calls, *errors.values(), *latency.values())) < 0 or not (calls or any(errors.values())):
        return None
    counted = {kind: n for kind, n in errors.items() if n}
    return ShardQuality(calls, counted, LatencyHistogram(latency.items()))


def _counts(found: Mapping[Any, Any]) -> dict[str, int]:
    return {str(name): int(count) for name, count in found.items()}


def _client(found: Mapping[str, Any]) -> dict[str, Any]:
    figures = {name: None if found[name] is None else float(found[name]) for name in _FIGURES}
    return {
        "client": str(found["client"]),
        "calls": int(found["calls"]),
        "errors": _counts(found["errors"]),
        **figures,
    }
