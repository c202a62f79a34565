"""What is measured."""

from __future__ import annotations

from benchmarks.workloads.base import Workload
from benchmarks.workloads.reads import GET, MGET

WORKLOADS: dict[str, Workload] = {workload.name: workload for workload in (GET, MGET)}

__all__ = ["WORKLOADS", "Workload"]
