"""The log of refused calls: who, from where, which operation, why; bounded, without a secret.

first refusal of its kind in a period     one line at once
more of the same kind                     one line with their number, once the period is over
more kinds than MOST in a period          counted together
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

PERIOD = 60.0  # seconds
MOST = 100  # kinds in a period

log = logging.getLogger("metaserver.refused")


class Refusal(NamedTuple):
    """One kind of refused call.

    Attributes:
        actor: "token:NAME", or "anybody".
        address: the IP address of the caller.
        operation: as in the OpenAPI document.
        pool: a pool that may be named in a log, or None.
        code: the code of the problem.
    """

    actor: str
    address: str
    operation: str
    pool: str | None
    code: str

    def __str__(self) -> str:
        pool = "" if self.pool is None else f" of pool {self.pool}"
        return f"{self.operation}{pool} by {self.actor} from {self.address}: {self.code}"


class RefusalLog:
    """Logs refused calls. Threads and greenlets may share one.

    Args:
        clock: returns monotonic seconds.
        write: takes a line.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], None] = log.warning,
    ) -> None:
        self._clock = clock
        self._write = write
        self._lock = threading.Lock()
        self._seen: Counter[Refusal] = Counter()
        self._others = 0
        self._ends = 0.0

    def note(self, refusal: Refusal) -> None:
        """Log a refused call, or count it."""
        with self._lock:
            lines = self._begin_period() if self._clock() >= self._ends else []
            if refusal in self._seen:
                self._seen[refusal] += 1
            elif len(self._seen) < MOST:
                self._seen[refusal] = 1
                lines.append(f"refused {refusal}")
            else:
                self._others += 1
        for line in lines:
            self._write(line)

    def flush(self) -> None:
        """Log what was counted in a period that is over."""
        with self._lock:
            lines = self._begin_period() if self._clock() >= self._ends else []
        for line in lines:
            self._write(line)

    def _begin_period(self) -> list[str]:
        lines = [f"refused {n - 1} times more {each}" for each, n in self._seen.items() if n > 1]
        if self._others:
            lines.append(f"refused {self._others} other calls of more kinds than are told apart")
        self._seen.clear()
        self._others = 0
        self._ends = self._clock() + PERIOD
        return lines
