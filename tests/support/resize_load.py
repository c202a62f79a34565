"""Client processes of both kinds under resizes, and the verdict on what they have seen."""

from __future__ import annotations

import json
import time
from array import array
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.client_processes import KINDS, ClientProcesses
from tests.support.placement_history import PlacementHistory
from tests.support.resize_board import FIGURES, Board
from tests.support.waiting import AT_MOST, until


@dataclass
class Verdict:
    """What all processes have seen.

    Attributes:
        figures: sums, by the names of `FIGURES`.
        errors: of each process, by class.
        ways: how often it was written so.
        examples: of stale, resurrected and wrong values.
        located: port, number of the key, sequence number and microseconds since the epoch, of each
            acknowledged write of which the server told.
        misplaced: those that ran at a shard which did not own the key.
    """

    figures: Counter[str] = field(default_factory=Counter)
    errors: list[Counter[str]] = field(default_factory=list)
    ways: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    located: list[tuple[int, int, int, int]] = field(default_factory=list)
    misplaced: list[str] = field(default_factory=list)

    def errors_of(self, processes: Collection[int]) -> Counter[str]:
        """Return the errors of these processes together."""
        return sum((self.errors[each] for each in processes), Counter[str]())

    def __str__(self) -> str:
        """Return the figures as a line for the log."""
        shown = ", ".join(f"{name} {self.figures[name]:,}" for name in FIGURES[1:8])
        errors = dict(self.errors_of(range(len(self.errors))))
        places = f"{len(self.misplaced)} of {len(self.located):,} located writes ran elsewhere"
        return f"{shown}, {places} than at the owner; errors {errors}"

    def check(self) -> None:
        """Assert that no value was stale, and that enough was seen to say so."""
        harm = {name: self.figures[name] for name in ("stale", "resurrected", "wrong")}
        assert not any(harm.values()), (harm, self.examples)
        assert self.misplaced == []
        assert len(self.located) > 50
        assert self.figures["hits"] > self.figures["writes"] > 100
        assert min(self.ways.values()) > 10, self.ways


class ResizeLoad(ClientProcesses):
    """So many client processes that write, read and judge; see `tests.support.resize_client`.

    Args:
        urls: of the pool, one for each process.
        token: for the metaservers.
        directory: for their files.
        pause: seconds between two rounds of a worker; None: the default.
    """

    def __init__(
        self, urls: Sequence[str], token: str, directory: Path, pause: float | None = None
    ) -> None:
        self._path = directory / "board"
        self.board = Board(self._path, len(urls))
        self.kinds = [KINDS[number % len(KINDS)] for number in range(len(urls))]
        arguments = [
            (url, self.kinds[number], str(self._path), str(len(urls)), str(number))
            for number, url in enumerate(urls)
        ]
        pauses = {} if pause is None else {"RESIZE_CLIENT_PAUSE": str(pause)}
        log = directory / "clients.log"
        super().__init__("tests.support.resize_client", arguments, token, log, pauses)

    def sums(self, name: str) -> list[int]:
        """Return a figure of each process."""
        return [self.board.sum_of(number, name) for number in range(len(self))]

    def versions(self) -> list[int]:
        """Return the version that each process acts on."""
        return [self.board.version(number) for number in range(len(self))]

    def await_progress(
        self, name: str = "writes", each: int = 5, but: Collection[int] = ()
    ) -> None:
        """Wait until a figure of each process, but for some, is so much higher."""
        before = self.sums(name)

        def risen() -> bool:
            for number, process in enumerate(self.processes):
                assert process.poll() is None, f"client {number} ended: {self.log.read_text()}"
            now = self.sums(name)
            return all(
                now[number] - before[number] >= each
                for number in range(len(self))
                if number not in but
            )

        until(risen)

    def await_calm(self, numbers: Collection[int], seconds: float) -> float:
        """Wait until none of these processes has had an error for so long, and each has written.

        Returns:
            Seconds from this call to the last error; 0.0 if there was none.
        """
        began = time.monotonic()

        def last() -> float:
            return max(self.board.last_error(number) for number in numbers)

        until(lambda: time.monotonic() - max(began, last()) > seconds)
        return max(0.0, last() - began)

    def stop(self, history: PlacementHistory) -> Verdict:
        """End all processes, and return what they have seen, as judged by a history."""
        verdict = Verdict()
        for number, out in enumerate(self.end(AT_MOST)):
            told = json.loads(out)
            verdict.errors.append(Counter(told["errors"]))
            verdict.ways.update(told["ways"])
            verdict.examples += told["examples"]
            located = array("q", Path(f"{self._path}.located-{number}").read_bytes())
            verdict.located += zip(*(iter(located),) * 4, strict=True)
        for name in FIGURES:
            verdict.figures[name] = sum(self.sums(name))
        verdict.misplaced = history.misplaced(self.board.names, verdict.located)
        return verdict
