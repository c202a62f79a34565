"""The command line: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import report
from benchmarks.cores import choose
from benchmarks.measure import measure
from benchmarks.peers import FLOOR, PEERS, Peer
from benchmarks.servers import running
from benchmarks.workloads import WORKLOADS, Workload
from benchmarks.workloads.base import ITEMS
from cachemesh.core.errors import CacheMeshError


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure CacheMesh beside others, against real servers on this machine.",
    )
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(WORKLOADS))
    parser.add_argument(
        "--peer", action="append", choices=PEERS, help="only these peers (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=9, help="turns of each peer (default: 9)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="calls of a round, times this (default: 1)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.workloads if name not in WORKLOADS]
    if unknown:
        parser.error(f"no workload {unknown[0]!r}; there are {', '.join(WORKLOADS)}")
    if options.rounds < 1 or options.scale <= 0:
        parser.error("--rounds must be at least 1 and --scale above 0")
    return options


def run(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """All that was asked for, shown as it comes; JSON-ready.

    Raises:
        CacheMeshError: the servers do not start.
    """
    cores = choose()
    found: dict[str, Any] = {"environment": report.environment(cores), "results": []}
    with ExitStack() as stack:
        console.print("starting servers ...")
        servers = stack.enter_context(running(cores))
        peers = {
            name: stack.enter_context(closing(PEERS[name](servers)))
            for name in options.peer or PEERS
        }
        for peer in peers.values():
            peer.load(ITEMS)
        for name in options.workloads or WORKLOADS:
            result = _measured(WORKLOADS[name], peers, options, console)
            found["results"].append(result)
            console.print(report.table(result))
            for name in result["below_floor"]:
                console.print(f"{name} came out below the floor ({FLOOR}): do not trust this run")
    return found


def _measured(
    workload: Workload, peers: Mapping[str, Peer], options: argparse.Namespace, console: Console
) -> dict[str, Any]:
    with console.status(workload.what) as status:
        taken = measure(
            workload,
            peers,
            options.rounds,
            options.scale,
            lambda done: status.update(f"{workload.what}: round {done} of {options.rounds}"),
        )
    return report.summary(workload, taken)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0, 1 with a line on stderr, 130 after Ctrl-C."""
    options = _parse(arguments)
    console = Console(highlight=False)
    try:
        found = run(options, console)
    except KeyboardInterrupt:
        return 130
    except (CacheMeshError, AssertionError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)  # noqa: T201
        return 1
    console.print(", ".join(f"{name} {value}" for name, value in found["environment"].items()))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
