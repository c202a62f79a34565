"""Rounds in which every contestant has its turn, so that a noisy moment hits all of them alike."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import NamedTuple


class Cost(NamedTuple):
    """What some calls took: seconds that passed, and seconds of CPU in this process."""

    wall: float
    cpu: float


Contestant = Callable[[int], Cost]
"""Does so many calls and says what they took; what it prepares is not in it."""


@dataclass(frozen=True)
class Manner:
    """How to measure.

    Attributes:
        rounds: turns of each contestant.
        seconds: how long a turn is to last at least.
        seed: of the order in each round.
    """

    rounds: int = 9
    seconds: float = 0.25
    seed: int = 1


@dataclass
class Taken:
    """What one contestant took: calls in a round, and microseconds a call in each round.

    Attributes:
        wall: as time passed.
        cpu: of this process, its threads and its kernel time included; the servers' is not.
    """

    calls: int
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, cost: Cost) -> None:
        self.wall.append(cost.wall / self.calls * 1e6)
        self.cpu.append(cost.cpu / self.calls * 1e6)


def timed(work: Callable[[], object]) -> Cost:
    """What it takes."""
    start, started = perf_counter(), process_time()
    work()
    return Cost(perf_counter() - start, process_time() - started)


def measure(
    contestants: Mapping[str, Contestant],
    manner: Manner,
    step: int,
    fixed: int | None,
    on_round: Callable[[int], None],
) -> dict[str, Taken]:
    """What each took.

    Args:
        step: calls come in multiples of this.
        fixed: all make this many calls, whatever time they take.
    """
    taken = {
        name: Taken(fixed or _calibrated(contestant, manner.seconds, step))
        for name, contestant in contestants.items()
    }
    if fixed:
        for contestant in contestants.values():
            contestant(fixed)
    order = list(contestants)
    shuffle = random.Random(manner.seed).shuffle
    for number in range(manner.rounds):
        shuffle(order)  # nobody always comes first, or always after the same
        for name in order:
            taken[name].add(contestants[name](taken[name].calls))
        on_round(number + 1)
    return taken


def _calibrated(contestant: Contestant, seconds: float, step: int) -> int:
    """Calls that take at least so long; finding out is the warm-up."""
    calls = step
    while (elapsed := contestant(calls).wall) < seconds / 3:
        grown = calls * min(10.0, seconds / 2 / max(elapsed, 1e-9))
        calls = step * math.ceil(max(grown, calls + step) / step)
    return step * math.ceil(calls * 1.1 * seconds / elapsed / step)
