"""The shape of a workload."""

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
        name: as the command line takes it.
        what: one line for the report.
        entrants: names of those that can do it.
        baseline: whose times the others' are compared with, if anybody's.
        floor: the one nobody can beat; somebody who seems to shows a fault of the run.
        step: calls come in multiples of this.
        spoils: whether it leaves data behind that others should not find.
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
        """How many calls all make in a turn of about so long; None: as many as fill it."""

    def contestants(self, arena: Arena, entrants: Sequence[str]) -> dict[str, Contestant]:
        """Who can do it here, checked to do it right.

        Raises:
            WorkloadMissingError: nobody can.
            AssertionError: somebody answers wrongly.
        """


@dataclass(frozen=True)
class PeerWorkload:
    """Work that peers do against servers.

    Attributes:
        data: what is stored before.
        prepare: client, data, calls -> a function that makes the calls; awaitable if the peers
            are asyncio's. What it prepares is not measured.
        check: client, data -> raises AssertionError if it answers wrongly; likewise awaitable.
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
