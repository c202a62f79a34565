"""What every workload has."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter, process_time
from typing import Any, Protocol

from benchmarks.arena import Arena
from benchmarks.measure import Contestant, Cost, timed
from benchmarks.peers import PEERS, PeerClient


class WorkloadMissingError(Exception):
    """A workload cannot run here; the message says what is missing."""


class Workload(Protocol):
    """One kind of work.

    Attributes:
        name: on the command line.
        what: one line for the report.
        entrants: the names of those that can do the work.
        baseline: the entrant that the others are compared with, or None.
        floor: the entrant that none can beat: if one does, the run is faulty.
        step: the number of calls is a multiple of this.
        spoils: whether the work leaves data behind that other workloads must not find.
    """

    @property
    def name(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def entrants(self) -> Sequence[str]: ...
    @property
    def baseline(self) -> str | None: ...
    @property
    def floor(self) -> str | None: ...
    @property
    def step(self) -> int: ...
    @property
    def spoils(self) -> bool: ...

    def fixed_calls(self, seconds: float) -> int | None:
        """Return how many calls a turn of ``seconds`` has; None: as many as fill the time."""

    def contestants(self, arena: Arena, entrants: Sequence[str]) -> dict[str, Contestant]:
        """Return the entrants that can run here, after a check of their values.

        Raises:
            WorkloadMissingError: none can run.
            AssertionError: one returned a wrong value.
        """


@dataclass(frozen=True)
class PeerWorkload:
    """Work that peers do against servers.

    Attributes:
        data: what is stored in advance.
        prepare: takes client, data and the number of calls; returns a function that makes the
            calls (awaitable for asyncio peers). The preparation is not measured.
        check: takes client and data; raises AssertionError for a wrong value (awaitable for
            asyncio peers).
    """

    name: str
    what: str
    entrants: tuple[str, ...]
    data: Mapping[str, bytes]
    prepare: Callable[[PeerClient, Mapping[str, bytes], int], Callable[[], Any]]
    check: Callable[[PeerClient, Mapping[str, bytes]], Any]
    baseline: str | None
    floor: str | None = None
    step: int = 1
    spoils: bool = False

    def fixed_calls(self, seconds: float) -> int | None:
        return None

    def contestants(self, arena: Arena, entrants: Sequence[str]) -> dict[str, Contestant]:
        found: dict[str, Contestant] = {}
        for name in entrants:
            client = arena.client(name)
            if client is None:
                continue
            arena.load(name, self.data)
            checked = self.check(client, self.data)
            if PEERS[name].asyncio:
                arena.run(checked)
            found[name] = partial(self._turn, arena, client, PEERS[name].asyncio)
        return found

    def _turn(self, arena: Arena, client: PeerClient, awaits: bool, calls: int) -> Cost:
        work = self.prepare(client, self.data, calls)
        gc.collect()  # what others left behind
        return arena.run(_awaited(work)) if awaits else timed(work)


async def _awaited(work: Callable[[], Any]) -> Cost:
    await asyncio.sleep(0)  # let what the last turn left run out
    start, started = perf_counter(), process_time()
    await work()
    return Cost(perf_counter() - start, process_time() - started)
