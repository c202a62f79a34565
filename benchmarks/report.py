"""What was measured, and where, as plain values and as a table."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from statistics import median
from typing import Any

import redis
from rich.table import Table

from benchmarks.cores import Cores
from benchmarks.measure import ratios
from benchmarks.peers import BASELINE, FLOOR
from benchmarks.workloads import Workload
from cachemesh import __version__
from cachemesh.local.binaries import find_redis_server


def environment(cores: Cores) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cachemesh": __version__,
        "redis_py": redis.__version__,
        "redis_server": ".".join(map(str, find_redis_server().version)),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "cores": str(cores),
        "load_average": round(os.getloadavg()[0], 2),
    }


def summary(workload: Workload, taken: Mapping[str, list[float]]) -> dict[str, Any]:
    """JSON-ready: medians in microseconds a call, ratios to the baseline, who beat the floor."""
    against = ratios(taken, BASELINE) if BASELINE in taken else {}
    floor = median(taken[FLOOR]) if FLOOR in taken else 0.0
    return {
        "workload": workload.name,
        "what": workload.what,
        "below_floor": [name for name, times in taken.items() if median(times) < floor],
        "peers": {
            name: {
                "median_us": round(median(times), 2),
                "fastest_us": round(min(times), 2),
                "slowest_us": round(max(times), 2),
                "ratio": round(against[name], 3) if name in against else None,
                "rounds_us": [round(time, 2) for time in times],
            }
            for name, times in taken.items()
        },
    }


def table(found: Mapping[str, Any]) -> Table:
    """One workload, a peer a line."""
    shown = Table(title=found["what"], title_justify="left")
    shown.add_column("peer")
    for name in ("median", "fastest round", "slowest round", f"against {BASELINE}"):
        shown.add_column(name, justify="right")
    for name, figures in found["peers"].items():
        ratio = figures["ratio"]
        shown.add_row(
            name,
            *(f"{figures[key]:,.1f} us" for key in ("median_us", "fastest_us", "slowest_us")),
            "-" if ratio is None else f"{ratio:.2f}x",
        )
    return shown
