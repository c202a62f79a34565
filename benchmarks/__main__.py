"""The command line of the benchmarks: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import goals, plot, report
from benchmarks.arena import Arena
from benchmarks.cores import LAYOUTS, choose
from benchmarks.measure import MeasureSettings, measure
from benchmarks.peers import PEERS, PeerMissingError
from benchmarks.workloads import GROUPS, WORKLOADS, Workload, WorkloadMissingError
from cachemesh.core.errors import CacheMeshError

MUST_SHOW = "must-show"
_MUST_SHOW_ROUNDS = 21
_WIDE = 200  # characters of a line where no terminal limits it
_QUICK = MeasureSettings(rounds=3, seconds=0.05)
_EPILOG = f"""\
{MUST_SHOW}  the figures the project promises, each with its bar: in about 4 minutes
""" + "\n".join(f"{name:9}  {', '.join(members)}" for name, members in GROUPS.items())


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure CacheMesh beside others, against real servers on this machine.",
        epilog=f"workloads, by group:\n\n{_EPILOG}\n\npeers: {', '.join(PEERS)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "names",
        nargs="*",
        metavar="WORKLOAD",
        help=f"a workload, a group of them, or {MUST_SHOW}; default: all workloads",
    )
    add("--peer", action="append", choices=PEERS, metavar="PEER", help="only this; repeat for more")
    add(
        "--rounds",
        type=int,
        help=f"turns of each peer (default: {MeasureSettings.rounds}; "
        f"{MUST_SHOW}: {_MUST_SHOW_ROUNDS})",
    )
    add(
        "--seconds",
        type=float,
        help=f"how long a turn lasts at least (default: {MeasureSettings.seconds:g})",
    )
    add("--seed", type=int, default=MeasureSettings.seed, help="of the order of turns (default: 1)")
    add(
        "--quick",
        action="store_true",
        help=f"{_QUICK.rounds} rounds of {_QUICK.seconds:g} s: whether it runs, not how fast",
    )
    add(
        "--cores",
        choices=LAYOUTS,
        default=LAYOUTS[0],
        help="the client on a core of its own, all on one core, or as the kernel likes "
        "(default: apart)",
    )
    add("--uvloop", action="store_true", help="run asyncio peers on uvloop")
    add("--traces", type=Path, metavar="DIR", help="where web12.trace.xz and the like are")
    add("--json", type=Path, metavar="FILE", help="write every figure there")
    add("--plot", type=Path, metavar="FILE.svg", help="draw bars there")
    add("--markdown", action="store_true", help="print tables ready to paste into a document")
    options = parser.parse_args(arguments)
    known = [MUST_SHOW, *GROUPS, *WORKLOADS]
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"no workload {unknown[0]!r}; there are {', '.join(known)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if options.seconds is not None and not 0 < options.seconds <= 60:
        parser.error("--seconds must be above 0 and at most 60")
    return options


def _plan(options: argparse.Namespace) -> dict[str, list[str]]:
    """Return the peers of each workload, in order."""
    plan: dict[str, list[str]] = {}
    for name in options.names or WORKLOADS:
        if name == MUST_SHOW:
            plan.update(goals.plan())
        else:
            for member in GROUPS.get(name, [name]):
                plan[member] = list(WORKLOADS[member].entrants)
    if options.peer:
        plan = {
            name: [e for e in entrants if e not in PEERS or e in options.peer]
            for name, entrants in plan.items()
        }
    return {name: entrants for name, entrants in plan.items() if entrants}


def _settings(options: argparse.Namespace) -> MeasureSettings:
    usual = _MUST_SHOW_ROUNDS if MUST_SHOW in options.names else MeasureSettings.rounds
    base = _QUICK if options.quick else MeasureSettings(rounds=usual)
    return MeasureSettings(
        options.rounds or base.rounds, options.seconds or base.seconds, options.seed
    )


class Run:
    """One run: measures the chosen workloads and shows each result when it is there."""

    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        self._options = options
        self._console = console
        self._settings = _settings(options)
        self._told: set[str] = set()

    def all(self) -> dict[str, Any]:
        """Measure everything and return it JSON-ready.

        Raises:
            CacheMeshError: the servers do not start.
            AssertionError: a peer returned a wrong value.
            PeerMissingError: uvloop is wanted and not installed.
        """
        options, cores = self._options, choose(self._options.cores)
        loop = "uvloop" if options.uvloop else "asyncio"
        results: list[dict[str, Any]] = []
        skipped: dict[str, str] = {}
        environment = report.environment(cores, self._settings, loop)
        with Arena(cores, options.uvloop, options.traces) as arena:
            for name, entrants in _plan(options).items():
                try:
                    results.append(self._measured(WORKLOADS[name], arena, entrants))
                except WorkloadMissingError as error:
                    skipped[name] = str(error)
                    self._tell(f"skipped {name}: {error}")
                self._tell_skipped(arena)
            skipped.update(arena.skipped)
        environment["load_average_after"] = report.load_average()
        return {"environment": environment, "results": results, "skipped": skipped}

    def _measured(
        self, workload: Workload, arena: Arena, entrants: Sequence[str]
    ) -> dict[str, Any]:
        with self._console.status(workload.what) as status:
            contestants = workload.contestants(arena, entrants)
            if not contestants:
                raise WorkloadMissingError("nobody is left to take part")
            taken = measure(
                contestants,
                self._settings,
                workload.step,
                workload.fixed_calls(self._settings.seconds),
                lambda done: status.update(
                    f"{workload.what}: round {done} of {self._settings.rounds}"
                ),
            )
        if workload.spoils:
            arena.clear()
        found = report.summary(workload, taken)
        report.grid(found).show(self._console, self._options.markdown)
        for name in found["below_floor"]:
            self._tell(
                f"{name} came out below {workload.floor}, which cannot be: do not trust this run"
            )
        return found

    def _tell_skipped(self, arena: Arena) -> None:
        for name, reason in arena.skipped.items():
            if name not in self._told:
                self._told.add(name)
                self._tell(f"skipped {name}: {reason}")

    @staticmethod
    def _tell(line: str) -> None:
        print(line, file=sys.stderr)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks with command-line arguments (None: those of the process).

    Returns:
        The exit code: 0; 1 after an error, with a line on stderr, or if a promised figure was not
        reached; 130 after Ctrl-C.
    """
    options = _parse(arguments)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
    try:
        found = Run(options, console).all()
    except KeyboardInterrupt:
        return 130
    except (CacheMeshError, PeerMissingError, AssertionError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)  # noqa: T201
        return 1
    passed = True
    if MUST_SHOW in options.names:
        verdicts = goals.verdicts(found["results"])
        found["goals"] = [verdict.as_dict() for verdict in verdicts]
        passed = all(verdict.passed for verdict in verdicts)
        report.goals(verdicts).show(console, options.markdown)
    console.print(report.machine(found["environment"]), soft_wrap=True, markup=False)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    if options.plot:
        options.plot.write_text(plot.svg(found["results"]))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
