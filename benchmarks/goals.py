"""The figures that the project promises, and whether a run reached them: ``must-show``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import Spread, times_as_fast
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.routing import entrant

_MESH, _AIO_MESH = "cachemesh", "cachemesh-asyncio"


@dataclass(frozen=True)
class Goal:
    """A promise: so many times as fast as another peer, or at most so many microseconds.

    Attributes:
        figure: in words.
        workload: its name.
        entrant: the peer that has to reach it.
        versus: the peer to compare with; None: the time itself counts.
        bar: times as fast at least, or microseconds at most.
        beyond: whether the bar itself is not enough.
    """

    figure: str
    workload: str
    entrant: str
    versus: str | None
    bar: float
    beyond: bool = False

    def met(self, value: float) -> bool:
        if self.versus is None:
            return value <= self.bar
        return value > self.bar if self.beyond else value >= self.bar


GOALS = (
    Goal("sync GET, 1 thread, vs redis-py direct to one server", "get", _MESH, "redis-py", 1.5),
    Goal("sync GET, 1 thread, vs the raw-socket floor", "get", _MESH, "floor", 0.9),
    Goal("sync GET, 32 threads, vs redis-py direct", "get-32-threads", _MESH, "redis-py", 1.5),
    Goal(
        "MGET of 100 over 4 shards vs redis-py direct on one server",
        *("mget-100", _MESH, "redis-py", 1.2),
    ),
    Goal(
        "MGET of 100 over 4 shards vs RedisCluster.mget_nonatomic",
        *("mget-100", _MESH, "redis-py-cluster", 8),
    ),
    Goal("pipeline of 100 GET vs redis-py direct", "pipeline-100", _MESH, "redis-py", 2),
    Goal("pipeline of 100 GET vs RedisCluster", "pipeline-100", _MESH, "redis-py-cluster", 5),
    Goal(
        "asyncio GET, 256 tasks, vs redis.asyncio direct",
        *("async-get-256", _AIO_MESH, "redis-py-asyncio", 10),
    ),
    Goal("asyncio GET, 256 tasks, vs valkey-glide", "async-get-256", _AIO_MESH, "valkey-glide", 4),
    Goal("routing, slots placement, a key, 4 shards", "route", entrant(4), None, 0.35),
    Goal("routing, slots placement, a key, 1,000 shards", "route", entrant(1000), None, 0.35),
    Goal("a new topology of 1,000 shards applied", "apply", entrant(1000), None, 20_000),
    Goal(
        "sync GET vs valkey-glide-sync cluster",
        *("get", _MESH, "valkey-glide-sync-cluster", 1.0, True),
    ),
    Goal(
        "MGET of 100 vs valkey-glide-sync cluster",
        *("mget-100", _MESH, "valkey-glide-sync-cluster", 1.0, True),
    ),
)

NO_HIREDIS = "redis-py-no-hiredis"
_OTHERS = ["floor", "floor-4", NO_HIREDIS]
_BESIDE = {
    "get": _OTHERS,
    "get-32-threads": _OTHERS,
    "mget-100": _OTHERS,
    "pipeline-100": _OTHERS,
    "async-get-256": ["floor-asyncio"],
}
"""Further peers that show how far servers and sockets limit a figure."""


@dataclass(frozen=True)
class Verdict:
    """A goal and what was measured for it.

    Attributes:
        goal: the goal.
        found: times as fast, or microseconds; None if nothing was measured.
        no_hiredis: the same against redis-py without hiredis, for information only.
    """

    goal: Goal
    found: Spread | None
    no_hiredis: Spread | None

    @property
    def passed(self) -> bool:
        return self.found is not None and self.goal.met(self.found.median)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "figure": self.goal.figure,
            "unit": "us" if self.goal.versus is None else "times as fast",
            "bar": self.goal.bar,
            "found": self.found and self.found.as_dict(),
            "no_hiredis": self.no_hiredis and self.no_hiredis.as_dict(),
            "passed": self.passed,
        }


def plan() -> dict[str, list[str]]:
    """Return the peers that each workload needs to show all goals."""
    wanted: dict[str, set[str]] = {}
    for goal in GOALS:
        wanted.setdefault(goal.workload, set(_BESIDE.get(goal.workload, ()))).update(
            name for name in (goal.entrant, goal.versus) if name
        )
    return {
        name: [entrant for entrant in WORKLOADS[name].entrants if entrant in takes_part]
        for name, takes_part in wanted.items()
    }


def verdicts(results: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """Compare each goal with the results of a run, as `benchmarks.report.summary` returns them."""
    taken = {result["workload"]: _rounds(result) for result in results}
    return [_verdict(goal, taken.get(goal.workload, {})) for goal in GOALS]


def _rounds(result: Mapping[str, Any]) -> dict[str, list[float]]:
    return {name: figures["rounds_us"] for name, figures in result["entrants"].items()}


def _verdict(goal: Goal, taken: Mapping[str, list[float]]) -> Verdict:
    mine = taken.get(goal.entrant)
    if mine is None:
        return Verdict(goal, None, None)
    if goal.versus is None:
        return Verdict(goal, Spread.of(mine), None)
    others = [goal.versus, *([NO_HIREDIS] if goal.versus == "redis-py" else [])]
    spreads = [times_as_fast(mine, taken[name]) if name in taken else None for name in others]
    return Verdict(goal, spreads[0], spreads[-1] if len(others) > 1 else None)
