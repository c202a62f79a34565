"""One thread after the other, whatever interrupts one that has its turn or waits for it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Turns:
    """Gives one thread at a time its turn.

    A thread that wants one turn after another does not keep others from theirs: who waits for the
    end of a turn has the next one, and the thread waits behind it.

    Unlike with a lock, a signal handler or a ``__del__`` that wants a turn within one of its own
    thread has it at once, instead of waiting for itself; and an exception that a signal handler
    raises as a turn begins ends it.
    """

    def __init__(self) -> None:
        self._next = threading.RLock()  # of the thread whose turn comes next
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
        deadline = time.monotonic() + seconds
        is_next: bool | None = None
        came: bool | None = None
        try:
            try:
                is_next = self._next.acquire(timeout=_until(deadline))
                came = is_next and self._lock.acquire(timeout=_until(deadline))
            finally:
                _release(self._next, is_next)
            if came:
                self._holder = thread
            yield came
        finally:
            if self._holder == thread:
                self._holder = None
            _release(self._lock, came)


def _until(deadline: float) -> float:
    """Return the timeout with which a lock is waited for until then, by `time.monotonic`."""
    left = deadline - time.monotonic()
    return -1 if math.isinf(left) else min(max(0.0, left), threading.TIMEOUT_MAX)


def _release(lock: Any, acquired: bool | None) -> None:
    """Release a lock, if it was acquired; None: it was interrupted before that, or after it."""
    if acquired is not False:
        try:
            lock.release()
        except RuntimeError:
            pass
