"""What every case has: a row of the table, which is run for one contender at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from benchmarks.failover.checker import Outcome
from benchmarks.failover.contenders import AsyncContender, Contender

BOTH = ("cachemesh", "cachemesh-asyncio", "redis-py", "redis-py-asyncio")
BLOCKING = ("cachemesh", "redis-py")


@dataclass(frozen=True)
class CaseSettings:
    """The load of a case: its seconds, and the number of writers on the shard that fails."""

    seconds: float = 20.0
    writers: int = 4


@dataclass
class CaseResult:
    """The result of one contender.

    Attributes:
        shown: its text in the table.
        passed: whether the contender clears the bar.
        figures: everything measured, JSON-ready.
    """

    shown: str
    passed: bool
    figures: dict[str, Any] = field(default_factory=dict)


class Case(ABC):
    """One row of the table.

    Attributes:
        name: on the command line.
        what, bar: texts of the table.
        contenders: the names of those that can take part.
    """

    name: str
    what: str
    bar: str
    contenders: tuple[str, ...] = BOTH

    @abstractmethod
    def run(self, contender: Contender | AsyncContender, settings: CaseSettings) -> CaseResult:
        """Run the case on a fresh stack.

        Raises:
            AssertionError, CacheMeshError: the case could not be measured.
        """


def of_outcome(outcome: Outcome, shown: str, passed: bool) -> CaseResult:
    """Return a result with a trial's whole outcome as its figures; a wrong reply fails it."""
    if outcome.wrong:
        shown += f", {outcome.wrong} WRONG"
    return CaseResult(shown, passed and not outcome.wrong, vars(outcome))


def seconds(value: float) -> str:
    """Format seconds with as many digits as matter."""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
