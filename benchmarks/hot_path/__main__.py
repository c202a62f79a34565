"""The command line of the hot-path benchmark: ``python -m benchmarks.hot_path --help``."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.figures import Spread
from benchmarks.hot_path.side import Side
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack

_HERE = Path(__file__).resolve().parents[2]
CALLS = {
    "get": 1600,
    "set": 1600,
    "mget": 160,
    "pipeline": 160,
    "asyncio-get": 800,
    "asyncio-get-256": 2048,
}
"""Calls under callgrind, of each kind; a turn of CPU time has three times as many."""


def counted(sides: Mapping[str, tuple[str, Path]], token: str) -> None:
    """Print the client's instructions for each call, of each side."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as until:
        running = {
            name: until.enter_context(Side(url, token, clone, Path(place, name)))
            for name, (url, clone) in sides.items()
        }
        for kind, calls in CALLS.items():
            _tell(kind, {n: side.instructions(kind, calls) for n, side in running.items()})


def timed(sides: Mapping[str, tuple[str, Path]], token: str, rounds: int) -> None:
    """Print the client's microseconds of CPU for each call, and how each pair of turns compares."""
    with ExitStack() as until:
        running = {
            name: until.enter_context(Side(url, token, clone))
            for name, (url, clone) in sides.items()
        }
        for kind, calls in CALLS.items():
            taken: dict[str, list[float]] = {name: [] for name in running}
            for number in range(rounds):
                for name in list(running)[:: 1 if number % 2 else -1]:
                    taken[name].append(running[name].cpu(kind, 3 * calls) * 1e6)
            _tell(kind, {name: median(times) for name, times in taken.items()})
            first, *others = taken.values()
            for other in others:
                pairs = Spread.of([a / b for a, b in zip(first, other, strict=True)])
                sys.stdout.write(f"  pairs: {pairs.median:.3f} ({pairs.q1:.3f}, {pairs.q3:.3f})\n")


def _tell(kind: str, found: Mapping[str, float]) -> None:
    first = next(iter(found.values()))
    each = (f"{name} {value:,.1f} ({first / value:.3f}x)" for name, value in found.items())
    sys.stdout.write(f"{kind}: {', '.join(each)}\n")
    sys.stdout.flush()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hot_path",
        description="What leases and reports cost a command: a pool from a metaserver beside the "
        "same pool from a file, which has neither. In brackets: how many times as fast as that.",
    )
    add = parser.add_argument
    add("--rounds", type=int, default=0, help="turns of CPU time; 0 (default) counts instructions")
    add("--before", type=Path, metavar="CLONE", help="a clone at another commit, to compare too")
    options = parser.parse_args()
    if not options.rounds and shutil.which("valgrind") is None:
        parser.error("counting takes valgrind: install it, or give --rounds")
    with LocalStack(shards=4, replicas=0, sentinels=1, dashboard=False) as stack:
        api = MetaserverClient(stack.info["metaservers"], stack.token)
        document = Path(stack.info["dir"], "pool.json")
        document.write_text(json.dumps(api.request("GET", "/v1/pools/cache")))
        url = stack.info["url"]
        sides = {"off": (f"cachemesh+file://{document}", _HERE), "on": (url, _HERE)}
        if options.before is not None:
            sides = {"before": (url, options.before.resolve()), **sides}
        if options.rounds:
            timed(sides, stack.token, options.rounds)
        else:
            counted(sides, stack.token)


if __name__ == "__main__":
    main()
