"""The workloads: what is measured.

base               what every workload has; `WORKLOADS` below lists all workloads
blocking, tasks    commands of blocking clients, and of asyncio clients
traces             recorded accesses, cache-aside; data: the keys and values of all workloads
routing            what routing costs, without any server
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.workloads import blocking, routing, tasks, traces
from benchmarks.workloads.base import Workload, WorkloadMissingError

_LISTED: Sequence[Sequence[Workload]] = (
    blocking.workloads(),
    tasks.workloads(),
    traces.workloads(),
    [*blocking.over_shards(), *tasks.over_shards()],
    routing.workloads(),
)
WORKLOADS: dict[str, Workload] = {made.name: made for listed in _LISTED for made in listed}

GROUPS: dict[str, list[str]] = {
    name: [made.name for made in listed]
    for name, listed in zip(
        ("sync", "asyncio", "traces", "shards", "routing"), _LISTED, strict=True
    )
}
"""The workloads that the command line takes by one name."""

__all__ = ["GROUPS", "WORKLOADS", "Workload", "WorkloadMissingError"]
