"""The command line of the failover benchmarks: ``python -m benchmarks.failover --help``."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.failover.cases import CASES, Case, CaseResult, CaseSettings
from benchmarks.failover.contenders import CONTENDERS
from benchmarks.report import Grid, load_average
from cachemesh.core.errors import CacheMeshError
from cachemesh.local.binaries import find_redis_server

_WIDE = 220  # characters of a line where no terminal limits it


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    lines = "\n".join(f"{name:15} {case.what}; {case.bar}" for name, case in CASES.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.failover",
        description="Fail masters under CacheMesh and under redis-py, and count what apps feel.",
        epilog=f"cases:\n\n{lines}\n\ncontenders: {', '.join(CONTENDERS)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("cases", nargs="*", metavar="CASE", help="default: all")
    add(
        "--seconds",
        type=float,
        default=CaseSettings.seconds,
        help="of load in a trial (default: 20)",
    )
    add(
        "--writers",
        type=int,
        default=CaseSettings.writers,
        help="on the shard that fails (default: 4)",
    )
    add("--only", action="append", choices=CONTENDERS, metavar="NAME", help="repeat for more")
    add("--json", type=Path, metavar="FILE", help="write every figure there")
    add("--markdown", action="store_true", help="print a table ready to paste into a document")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.cases if name not in CASES]
    if unknown:
        parser.error(f"no case {unknown[0]!r}; there are {', '.join(CASES)}")
    if options.seconds < 5 or options.writers < 1:
        parser.error("--seconds must be at least 5, --writers at least 1")
    return options


def _run(
    case: Case, only: Sequence[str] | None, settings: CaseSettings, console: Console
) -> dict[str, CaseResult]:
    results = {}
    for name in case.contenders:
        if only and name not in only:
            continue
        try:
            result = case.run(CONTENDERS[name], settings)
        except (AssertionError, CacheMeshError) as error:
            result = CaseResult(f"not measured: {error}"[:80], False, {"error": str(error)})
        results[name] = result
        console.print(f"{case.name}: {name}: {result.shown}", markup=False, soft_wrap=True)
    return results


def _grid(found: dict[str, dict[str, CaseResult]]) -> Grid:
    rows = []
    for name, results in found.items():
        what = f"{CASES[name].what}: {CASES[name].bar}"
        for who, result in results.items():
            rows.append([what, who, result.shown, _verdict(result)])
            what = ""
    return Grid(
        "failover: the same harness for all", ("case: bar", "client", "measured", "verdict"), rows
    )


def _verdict(result: CaseResult) -> str:
    return "pass" if result.passed else "short"


def _machine(settings: CaseSettings, before: float) -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "redis_server": ".".join(map(str, find_redis_server().version)),
        "redis_py": version("redis"),
        "seconds": settings.seconds,
        "writers": settings.writers,
        "load_average": [before, load_average()],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen cases and print their results; return 0 whatever the figures are."""
    options = _parse(arguments)
    settings = CaseSettings(options.seconds, options.writers)
    progress = Console(stderr=True, highlight=False)
    before, found = load_average(), {}
    for name, case in CASES.items():
        if not options.cases or name in options.cases:
            found[name] = _run(case, options.only, settings, progress)
    machine = _machine(settings, before)
    console = Console(highlight=False, width=None if Console().is_terminal else _WIDE)
    _grid(found).show(console, options.markdown)
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()), markup=False)
    if options.json:
        rows = {
            name: {
                "what": CASES[name].what,
                "bar": CASES[name].bar,
                "contenders": {who: vars(result) for who, result in results.items()},
            }
            for name, results in found.items()
        }
        document = {"machine": machine, "cases": rows}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
