"""Shows what was measured, and on what machine, as plain values and as tables."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.cores import Cores
from benchmarks.figures import Spread, significant, times_as_fast
from benchmarks.goals import NO_HIREDIS, Verdict
from benchmarks.measure import MeasuredTimes, MeasureSettings
from benchmarks.workloads import Workload
from cachemesh import __version__
from cachemesh.local.binaries import find_redis_server

_PACKAGES = ("redis", "hiredis", "valkey-glide", "valkey-glide-sync", "coredis", "uvloop")

_TOLERANCE = 0.02  # a floor has noise too


def environment(cores: Cores, settings: MeasureSettings, loop: str) -> dict[str, Any]:
    """Return the machine, the versions and the settings that the figures depend on."""
    return {
        "cachemesh": __version__,
        "redis_server": ".".join(map(str, find_redis_server().version)),
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "cores": str(cores),
        "event_loop": loop,
        "rounds": settings.rounds,
        "round_seconds": settings.seconds,
        "seed": settings.seed,
        "load_average_before": load_average(),
    }


def load_average() -> float:
    """Return the load average of the last minute, with the benchmark's own part."""
    return round(os.getloadavg()[0], 2)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


def summary(workload: Workload, taken: Mapping[str, MeasuredTimes]) -> dict[str, Any]:
    """Return JSON-ready values: microseconds per call, and the ratio to the baseline."""
    walls = {name: mine.wall for name, mine in taken.items()}
    base = walls.get(workload.baseline) if workload.baseline else None
    floor = walls.get(workload.floor) if workload.floor else None
    return {
        "workload": workload.name,
        "what": workload.what,
        "baseline": workload.baseline,
        "below_floor": [
            name
            for name, times in walls.items()
            if floor
            and not name.startswith("floor")
            and times_as_fast(times, floor).median > 1 + _TOLERANCE
        ],
        "entrants": {
            name: {
                "calls_a_round": mine.calls,
                "us": Spread.of(mine.wall).as_dict(),
                "cpu_us": Spread.of(mine.cpu).as_dict(),
                "times_as_fast": base and times_as_fast(mine.wall, base).as_dict(),
                "rounds_us": [significant(time) for time in mine.wall],
                "rounds_cpu_us": [significant(time) for time in mine.cpu],
            }
            for name, mine in taken.items()
        },
    }


@dataclass(frozen=True)
class Grid:
    """A table of texts: title, heads of the columns, rows. The first column holds words."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def show(self, console: Console, markdown: bool) -> None:
        """Return the table as text, for a terminal or a document."""
        if markdown:
            console.print(self._markdown(), soft_wrap=True, markup=False)
            return
        console.print(self.title, style="bold", soft_wrap=True, markup=False)
        table = Table()
        for number, head in enumerate(self.heads):
            table.add_column(head, justify="right" if number else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        console.print(table)

    def _markdown(self) -> str:
        lines = [f"**{self.title}**", "", _line(self.heads)]
        lines.append(_line(["---", *("---:" for _ in self.heads[1:])]))
        return "\n".join([*lines, *map(_line, self.rows), ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def grid(found: Mapping[str, Any]) -> Grid:
    """Return the table of one workload, with a row for each peer."""
    baseline = found["baseline"]
    heads = ["", "us a call", "quartiles", "of it CPU", "calls/s"]
    rows = []
    for name, figures in found["entrants"].items():
        us, ratio = figures["us"], figures["times_as_fast"]
        row = [name, _number(us["median"]), _quartiles(us), _number(figures["cpu_us"]["median"])]
        row.append(f"{1e6 / us['median']:,.0f}")
        if baseline:
            row += [f"{ratio['median']:.2f}x", _quartiles(ratio)] if ratio else ["-", "-"]
        rows.append(row)
    if baseline:
        heads += [f"as fast as {baseline}", "quartiles"]
    return Grid(f"{found['workload']}: {found['what']}", heads, rows)


def goals(found: Sequence[Verdict]) -> Grid:
    """Return the table of the goals, one a row."""
    return Grid(
        "must show: medians over interleaved rounds, 4 shards, values of 100 B",
        ("figure", "bar", "measured", "quartiles", "verdict", f"vs {NO_HIREDIS}"),
        [_goal(verdict) for verdict in found],
    )


def _goal(verdict: Verdict) -> list[str]:
    goal, found = verdict.goal, verdict.found
    scale, unit = (1, "x") if goal.versus else (1, " us") if goal.bar < 1000 else (1000, " ms")
    sign = "<=" if goal.versus is None else ">" if goal.beyond else ">="
    bar = f"{sign} {goal.bar / scale:g}{unit}"
    if found is None:
        return [goal.figure, bar, "-", "-", "not measured", "-"]
    scaled = {"q1": found.q1 / scale, "q3": found.q3 / scale}
    measured = f"{_number(found.median / scale)}{unit}"
    plain = f"{_number(verdict.no_hiredis.median)}x" if verdict.no_hiredis else "-"
    passed = "pass" if verdict.passed else "FAIL"
    return [goal.figure, bar, measured, _quartiles(scaled), passed, plain]


def _quartiles(spread: Mapping[str, float]) -> str:
    return f"{_number(spread['q1'])} to {_number(spread['q3'])}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.1f}" if value >= 10 else f"{value:.2f}"


def machine(found: Mapping[str, Any]) -> str:
    """Return the environment in one sentence."""
    packages = ", ".join(f"{name} {number}" for name, number in found["packages"].items())
    return (
        f"{found['cpus']} CPUs ({found['processor']}), {found['system']}; {found['cores']}; "
        f"Python {found['python']} on {found['event_loop']}, redis-server "
        f"{found['redis_server']}; {packages}; {found['rounds']} rounds of at least "
        f"{found['round_seconds']:g} s; load average {found['load_average_before']} before, "
        f"{found['load_average_after']} after"
    )
