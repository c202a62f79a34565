"""One thread after the other, whatever interrupts one that has its turn or waits for it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Gives one thread at a time its turn.

    Unlike with a lock, a signal handler or a ``__del__`` that wants a turn within one of its own
    thread has it at once, instead of waiting for itself; and an exception that a signal handler
    raises as a turn begins ends it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._holder: int | None = None

    @contextmanager
    def turn(self, seconds: float) -> Iterator[bool]:
        """Have a turn; the value is whether it has come within so many seconds.

        Args:
            seconds: infinity waits for as long as it takes.
        """
        thread = threading.get_ident()
        if self._holder == thread:
            yield True
            return
        at_most = -1 if math.isinf(seconds) else min(max(0.0, seconds), threading.TIMEOUT_MAX)
        came = None
        try:
            came = self._lock.acquire(timeout=at_most)
            if came:
                self._holder = thread
            yield came
        finally:
            if self._holder == thread:
                self._holder = None
            if came is not False:
                try:  # if None, it was interrupted, before it had the lock or after that
                    self._lock.release()
                except RuntimeError:
                    pass
