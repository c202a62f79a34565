"""Client processes while keys move, and the verdict on every reply that they got."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.support.client_processes import KINDS, ClientProcesses
from tests.support.waiting import AT_MOST, until

WORKERS = 3  # threads or tasks of each
ENOUGH = 1200  # calls of all processes, so that each is made often


@dataclass
class MoveVerdict:
    """What all processes have seen.

    Attributes:
        calls: how often each was made.
        errors: by class.
        wrong: by what is wrong: lost, back or wrong.
        examples: of both.
        took: seconds since the epoch when a call began, and its seconds.
    """

    calls: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    took: list[tuple[float, float]] = field(default_factory=list)

    def within(self, began: float, ended: float) -> list[float]:
        """Return the seconds of the calls that began in a span of time, sorted."""
        return sorted(seconds for at, seconds in self.took if began <= at <= ended)

    def __str__(self) -> str:
        """Return the figures as a line for the log."""
        return (
            f"{sum(self.calls.values()):,} calls; wrong {dict(self.wrong)}; "
            f"errors {dict(self.errors)}"
        )

    def check(self, *errors: str) -> None:
        """Assert that no reply was wrong, that no other errors came, and that enough was seen."""
        assert not self.wrong, (self.wrong, self.examples)
        assert set(self.errors) <= set(errors), (self.errors, self.examples)
        assert len(self.calls) > 25 and min(self.calls.values()) > 3, self.calls


class MoveLoad(ClientProcesses):
    """So many client processes; see `tests.support.move_client`.

    Args:
        urls: of the pool, one for each process.
        token: for the metaservers.
        directory: for their log.
    """

    def __init__(self, urls: list[str], token: str, directory: Path) -> None:
        arguments = [
            (url, KINDS[number % 2], str(WORKERS), f"client-{number}")
            for number, url in enumerate(urls)
        ]
        log = directory / "clients.log"
        super().__init__("tests.support.move_client", arguments, token, log)

    def calls(self, number: int) -> int:
        """Return how many calls a process has made."""
        process = self.processes[number]
        assert process.poll() is None, f"client {number} ended: {self.log.read_text()}"
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    def await_progress(self, each: int = 50, but: tuple[int, ...] = ()) -> None:
        """Wait until each process, but for some, has made so many more calls."""
        for number in range(len(self)):
            if number not in but:
                until(partial(self._has_made, number, self.calls(number) + each))

    def _has_made(self, number: int, calls: int) -> bool:
        return self.calls(number) >= calls

    def stop(self) -> MoveVerdict:
        """Wait for enough calls, end all processes, and return what they have seen."""
        until(lambda: sum(map(self.calls, range(len(self)))) >= ENOUGH)
        verdict = MoveVerdict()
        for out in self.end(AT_MOST):
            told = json.loads(out)
            verdict.calls.update(told["calls"])
            verdict.errors.update(told["errors"])
            verdict.wrong.update(told["wrong"])
            verdict.examples += told["examples"]
            verdict.took += zip(*(iter(told["took"]),) * 2, strict=True)
        return verdict
