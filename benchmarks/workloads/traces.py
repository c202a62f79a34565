"""Workloads of recorded accesses, cache-aside: GET, and on a miss SET."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.arena import Arena
from benchmarks.measure import Contestant
from benchmarks.peers import PeerClient
from benchmarks.workloads import blocking, tasks
from benchmarks.workloads.base import PeerWorkload, WorkloadMissingError
from benchmarks.workloads.data import SMALL, VALUE_BYTES
from cachemesh.replay import TraceError, open_trace

TRACES = ("web12", "orm-busy")
TASKS = 256
_VALUE = b"." * VALUE_BYTES
_ACCESSES = 100_000  # of a trace that are read; a turn is shorter
_turns = count(1)

Data = Mapping[str, bytes]


@dataclass(frozen=True)
class TraceWorkload:
    """The beginning of a trace on an empty cache, with as many accesses for every peer.

    Attributes:
        trace: the name of its file up to the first dot.
        prepare: as that of `PeerWorkload`, with the trace's ids as the first argument.
        fixed: how many accesses a turn has for each of its seconds.
    """

    name: str
    what: str
    trace: str
    entrants: tuple[str, ...]
    baseline: str
    prepare: Callable[[list[str], PeerClient, Data, int], Callable[[], Any]]
    check: Callable[[PeerClient, Data], Any]
    fixed: int
    step: int = 1
    floor: str | None = None
    spoils: bool = True

    def fixed_calls(self, seconds: float) -> int:
        return self.step * max(1, round(self.fixed * seconds / self.step))

    def contestants(self, arena: Arena, entrants: Sequence[str]) -> dict[str, Contestant]:
        prepare = partial(self.prepare, _ids(self.trace, arena.traces))
        replay = PeerWorkload(
            self.name, self.what, self.entrants, SMALL, prepare, self.check, self.baseline
        )
        return replay.contestants(arena, entrants)


def _ids(trace: str, directory: Path | None) -> list[str]:
    """Return the accessed ids, in order.

    Raises:
        WorkloadMissingError: there is no such trace.
    """
    if directory is None:
        raise WorkloadMissingError(f"where is the trace {trace}? --traces DIR says it")
    found = sorted(directory.glob(f"{trace}.*"))
    if not found:
        raise WorkloadMissingError(f"{directory} has no trace {trace}")
    try:
        return [key.decode() for key in open_trace(found[0]).keys(_ACCESSES)]
    except TraceError as error:
        raise WorkloadMissingError(str(error)) from error


def _keys(ids: list[str], calls: int) -> list[str]:
    """Return new keys, so that each turn begins with an empty cache."""
    turn = next(_turns)
    return [f"{turn}:{number}" for number in islice(cycle(ids), calls)]


def _blocking(ids: list[str], client: PeerClient, _: Data, calls: int) -> Callable[[], Any]:
    keys, get, put = _keys(ids, calls), client.get, client.set

    def work() -> None:
        for key in keys:
            if get(key) is None:
                put(key, _VALUE)

    return work


def _awaiting(ids: list[str], client: PeerClient, _: Data, calls: int) -> Callable[[], Any]:
    keys, get, put = iter(_keys(ids, calls)), client.get, client.set

    async def task() -> None:
        for key in keys:  # shared: a free thread takes the next one
            if await get(key) is None:
                await put(key, _VALUE)

    async def work() -> None:
        await asyncio.gather(*(task() for _ in range(TASKS)))

    return work


def workloads() -> list[TraceWorkload]:
    """Return a workload for each trace, blocking and asyncio; the floors cannot take part."""
    return [
        made
        for trace in TRACES
        for made in (
            TraceWorkload(
                f"trace-{trace}",
                f"trace {trace}: GET, on a miss SET, 1 thread",
                trace,
                tuple(name for name in blocking.PEERS if not name.startswith("floor")),
                blocking.BASELINE,
                _blocking,
                blocking.check_gets,
                fixed=20_000,
            ),
            TraceWorkload(
                f"async-trace-{trace}",
                f"asyncio, trace {trace}: GET, on a miss SET, {TASKS} tasks",
                trace,
                tuple(name for name in tasks.PEERS if not name.startswith("floor")),
                tasks.BASELINE,
                _awaiting,
                tasks.check_gets,
                fixed=40_000,
                step=TASKS,
            ),
        )
    ]
