"""What a case is: a row of the table, run for one contender at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from benchmarks.failover.checker import Outcome
from benchmarks.failover.contenders import AsyncContender, Contender

BOTH = ("cachemesh", "cachemesh-asyncio", "redis-py", "redis-py-asyncio")
BLOCKING = ("cachemesh", "redis-py")


@dataclass(frozen=True)
class Manner:
    """How long and how hard: seconds of load, writers on the shard that fails."""

    seconds: float = 20.0
    writers: int = 4


@dataclass
class Result:
    """What one contender showed.

    Attributes:
        shown: in the table.
        passed: whether it clears the bar.
        figures: all of it, JSON-ready.
    """

    shown: str
    passed: bool
    figures: dict[str, Any] = field(default_factory=dict)


class Case(ABC):
    """One row.

    Attributes:
        name: on the command line.
        what, bar: in the table.
        contenders: who can take part, by name.
    """

    name: str
    what: str
    bar: str
    contenders: tuple[str, ...] = BOTH

    @abstractmethod
    def run(self, contender: Contender | AsyncContender, manner: Manner) -> Result:
        """On a fresh stack. Raises AssertionError, CacheMeshError: it could not be measured."""


def of_outcome(outcome: Outcome, shown: str, passed: bool) -> Result:
    """A result with the whole outcome beside it. A wrong reply passes nowhere."""
    if outcome.wrong:
        shown += f", {outcome.wrong} WRONG"
    return Result(shown, passed and not outcome.wrong, vars(outcome))


def seconds(value: float) -> str:
    """As text, with as many digits as matter."""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
