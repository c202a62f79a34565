"""What client processes under resizes tell one another and the test, in shared memory.

    for each key       what was acknowledged last: twice its sequence number, and one more if it was
                       deleted by that
    for each worker    its figures, as `FIGURES` names them
    for each process   the version that its client acts on, and how often it fell

Each number has one writer, and is written and read as a whole.
"""

from __future__ import annotations

import mmap
import time
from pathlib import Path

FIGURES = (
    *("rounds", "reads", "hits", "writes", "deletes"),
    *("stale", "resurrected", "wrong", "errors", "last_error"),
)
"""`last_error`: when the last call failed, in microseconds of the monotonic clock."""

WORKERS = 2  # of each process
KEYS = 12  # of each worker
_SIZE = 8


class Board:
    """The shared memory of so many processes.

    Args:
        path: of its file, which is made if it is not there.
        processes: how many there are.
    """

    def __init__(self, path: Path, processes: int) -> None:
        self.processes = processes
        self.workers = processes * WORKERS
        self.names = [f"key:{number}" for number in range(self.workers * KEYS)]
        self._figures = len(self.names)
        self._versions = self._figures + self.workers * len(FIGURES)
        size = (self._versions + 2 * processes) * _SIZE
        with path.open("a+b") as file:
            file.truncate(size)
            self._cells = memoryview(mmap.mmap(file.fileno(), size)).cast("q")

    def acknowledged(self, key: int) -> int:
        """Return what was acknowledged last for a key, by its number."""
        return self._cells[key]

    def acknowledge(self, key: int, sequence: int, deleted: bool = False) -> None:
        """Note that a write, or a deletion, was acknowledged."""
        self._cells[key] = 2 * sequence + deleted

    def figure(self, worker: int, name: str) -> int:
        """Return a figure of a worker."""
        return self._cells[self._cell(worker, name)]

    def count(self, worker: int, name: str) -> None:
        """Raise a figure of a worker by one."""
        self._cells[self._cell(worker, name)] += 1

    def failed(self, worker: int) -> None:
        """Note that a call of a worker has failed now."""
        self.count(worker, "errors")
        self._cells[self._cell(worker, "last_error")] = time.monotonic_ns() // 1000

    def _cell(self, worker: int, name: str) -> int:
        return self._figures + worker * len(FIGURES) + FIGURES.index(name)

    def sum_of(self, process: int, name: str) -> int:
        """Return a figure of a process."""
        return sum(self.figure(worker, name) for worker in workers_of(process))

    def last_error(self, process: int) -> float:
        """Return when a call of a process failed last, in monotonic seconds; 0.0: never."""
        return max(self.figure(worker, "last_error") for worker in workers_of(process)) / 1e6

    def version(self, process: int) -> int:
        """Return the version that the client of a process acts on."""
        return self._cells[self._versions + 2 * process]

    def falls(self, process: int) -> int:
        """Return how often the version of a process has fallen."""
        return self._cells[self._versions + 2 * process + 1]

    def acts_on(self, process: int, version: int) -> None:
        """Note the version that the client of a process acts on."""
        cell = self._versions + 2 * process
        self._cells[cell + 1] += version < self._cells[cell]
        self._cells[cell] = version


def workers_of(process: int) -> range:
    """Return the numbers of the workers of a process."""
    return range(process * WORKERS, (process + 1) * WORKERS)
