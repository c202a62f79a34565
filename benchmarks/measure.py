"""Rounds in which every contestant has its turn, so that a noisy moment hits all of them alike."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Contestant = Callable[[int], float]
"""Does so many calls and gives the seconds they took; what it prepares is not in them."""


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


def measure(
    contestants: Mapping[str, Contestant],
    manner: Manner,
    step: int,
    fixed: int | None,
    on_round: Callable[[int], None],
) -> tuple[dict[str, int], dict[str, list[float]]]:
    """How many calls each made in a round, and in each round its microseconds a call.

    Args:
        step: calls come in multiples of this.
        fixed: all make this many calls, whatever time they take.
    """
    calls = {
        name: fixed or _calibrated(contestant, manner.seconds, step)
        for name, contestant in contestants.items()
    }
    if fixed:
        for contestant in contestants.values():
            contestant(fixed)
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    shuffle = random.Random(manner.seed).shuffle
    for number in range(manner.rounds):
        shuffle(order)  # nobody always comes first, or always after the same
        for name in order:
            taken[name].append(contestants[name](calls[name]) / calls[name] * 1e6)
        on_round(number + 1)
    return calls, taken


def _calibrated(contestant: Contestant, seconds: float, step: int) -> int:
    """Calls that take at least so long; finding out is the warm-up."""
    calls = step
    while (elapsed := contestant(calls)) < seconds / 3:
        grown = calls * min(10.0, seconds / 2 / max(elapsed, 1e-9))
        calls = step * math.ceil(max(grown, calls + step) / step)
    return step * math.ceil(calls * 1.1 * seconds / elapsed / step)
