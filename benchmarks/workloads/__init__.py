"""What is measured."""

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
"""Name -> workloads that the command line takes by it."""

__all__ = ["GROUPS", "WORKLOADS", "Workload", "WorkloadMissingError"]
