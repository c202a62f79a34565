"""Measures in rounds in which every contestant has a turn, so that noise affects all alike."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import NamedTuple


class Cost(NamedTuple):
    """What some calls took: seconds of wall time, and seconds of CPU in this process."""

    wall: float
    cpu: float


Contestant = Callable[[int], Cost]
"""Makes a number of calls and returns their cost, without that of its preparations."""


@dataclass(frozen=True)
class MeasureSettings:
    """How to measure.

    Attributes:
        rounds: how many turns each contestant has.
        seconds: the least length of a turn.
        seed: of the random order in each round.
    """

    rounds: int = 9
    seconds: float = 0.25
    seed: int = 1


@dataclass
class MeasuredTimes:
    """What one contestant took.

    Attributes:
        calls: in each round.
        wall: microseconds of wall time per call, for each round.
        cpu: microseconds of this process's CPU per call, with threads and kernel time, for each
            round; the CPU of the servers is not in it.
    """

    calls: int
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, cost: Cost) -> None:
        """Add the cost of a round's calls."""
        self.wall.append(cost.wall / self.calls * 1e6)
        self.cpu.append(cost.cpu / self.calls * 1e6)


def timed(work: Callable[[], object]) -> Cost:
    """Return the cost of calling ``work``."""
    start, started = perf_counter(), process_time()
    work()
    return Cost(perf_counter() - start, process_time() - started)


def measure(
    contestants: Mapping[str, Contestant],
    settings: MeasureSettings,
    step: int,
    fixed: int | None,
    on_round: Callable[[int], None],
) -> dict[str, MeasuredTimes]:
    """Measure all contestants.

    Args:
        contestants: by name.
        settings: how to measure.
        step: the number of calls is a multiple of this.
        fixed: the number of calls in each turn; None: as many as take ``settings.seconds``.
        on_round: called with the number of each completed round.
    """
    taken = {
        name: MeasuredTimes(fixed or _calibrated(contestant, settings.seconds, step))
        for name, contestant in contestants.items()
    }
    if fixed:
        for contestant in contestants.values():
            contestant(fixed)
    order = list(contestants)
    shuffle = random.Random(settings.seed).shuffle
    for number in range(settings.rounds):
        shuffle(order)  # so that none is always first, or always after the same one
        for name in order:
            taken[name].add(contestants[name](taken[name].calls))
        on_round(number + 1)
    return taken


def _calibrated(contestant: Contestant, seconds: float, step: int) -> int:
    """Return a number of calls that take at least ``seconds``; this is the warm-up too."""
    calls = step
    while (elapsed := contestant(calls).wall) < seconds / 3:
        grown = calls * min(10.0, seconds / 2 / max(elapsed, 1e-9))
        calls = step * math.ceil(max(grown, calls + step) / step)
    return step * math.ceil(calls * 1.1 * seconds / elapsed / step)
