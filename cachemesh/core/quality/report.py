"""Reports of quality: what a client felt of its shards in some time. They add up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cachemesh.core.quality.histogram import MOST, LatencyHistogram

BREAKERS = ("closed", "half-open", "open")
ERRORS = frozenset(
    {
        *("breaker-open", "broken", "not-connected", "not-master", "not-ready", "other"),
        "timeout",
    }
)
"""Classes of errors that apps get because a shard does not serve."""

MOST_SHARDS = 200
"""Shards of one report; what a client felt of further ones comes with later reports."""


@dataclass(frozen=True)
class ShardQuality:
    """What was felt of one shard.

    Attributes:
        calls: requests to the shard that were answered: a command, or a pipeline's part.
        errors: how many calls failed in the end, by class, of ERRORS.
        latency: of the calls; measured of some of them, which count for the others.
        breaker: of the master, at the end.
    """

    calls: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    breaker: str = "closed"

    @property
    def failed(self) -> int:
        """The number of calls that failed."""
        return sum(self.errors.values())

    def __add__(self, later: ShardQuality) -> ShardQuality:
        errors = dict(self.errors)
        for kind, count in later.errors.items():
            errors[kind] = errors.get(kind, 0) + count
        latency = self.latency + later.latency
        return ShardQuality(self.calls + later.calls, errors, latency, later.breaker)

    def to_dict(self) -> dict[str, Any]:
        """Return the form for JSON, without what is 0 or as usual."""
        found: dict[str, Any] = {"calls": self.calls}
        if self.errors:
            found["errors"] = dict(self.errors)
        if self.latency.counts:
            found["latency"] = self.latency.to_dict()
        if self.breaker != "closed":
            found["breaker"] = self.breaker
        return found

    @classmethod
    def from_dict(cls, found: object) -> ShardQuality:
        """Return what `to_dict` gave, checked: it may come from anybody.

        Raises:
            ValueError: it is no report of a shard; says what is wrong.
        """
        if not isinstance(found, dict) or not found.keys() <= {
            "breaker",
            "calls",
            "errors",
            "latency",
        }:
            raise ValueError("it is not an object of calls, errors, latency and breaker")
        calls, errors = found.get("calls"), found.get("errors", {})
        if type(calls) is not int or not 0 <= calls <= MOST:
            raise ValueError(f"calls is not a number from 0 to {MOST}")
        if not isinstance(errors, dict) or not errors.keys() <= ERRORS:
            raise ValueError(f"errors is not an object of counts by {', '.join(sorted(ERRORS))}")
        if any(type(count) is not int or not 1 <= count <= MOST for count in errors.values()):
            raise ValueError(f"errors has a count that is not from 1 to {MOST}")
        breaker = found.get("breaker", "closed")
        if breaker not in BREAKERS:
            raise ValueError(f"breaker is not one of {', '.join(BREAKERS)}")
        return cls(calls, errors, LatencyHistogram.from_dict(found.get("latency", {})), breaker)


def checked_report(found: object) -> dict[str, ShardQuality]:
    """Return a report of several shards by their names.

    Raises:
        ValueError: it is none; says what is wrong.
    """
    if not isinstance(found, dict) or len(found) > MOST_SHARDS:
        raise ValueError(f"it is not an object of at most {MOST_SHARDS} shards")
    report = {}
    for shard, quality in found.items():
        try:
            report[shard] = ShardQuality.from_dict(quality)
        except ValueError as error:
            raise ValueError(f"{shard:.80}: {error}") from error
    return report


def merged(reports: Iterable[Mapping[str, ShardQuality]]) -> dict[str, ShardQuality]:
    """Return what several clients, or one in several times, felt of each shard, in sum."""
    found: dict[str, ShardQuality] = {}
    for report in reports:
        for shard, quality in report.items():
            found[shard] = found[shard] + quality if shard in found else quality
    return found


def busiest(report: Mapping[str, ShardQuality]) -> dict[str, ShardQuality]:
    """Return the part of a report that is sent: shards that failed or were called most."""
    ranked = sorted(report, key=lambda shard: (-report[shard].failed, -report[shard].calls))
    return {shard: report[shard] for shard in ranked[:MOST_SHARDS]}
