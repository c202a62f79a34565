"""Counts the failures during a replay: which, how many, and for how long."""

from __future__ import annotations

import threading
from collections import Counter

from cachemesh.replay.result import EPISODE_GAP_S, ErrorWindow


class ErrorLog:
    """The failures of one replay, shared by its threads. They are rare, so a lock costs nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_class: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self._first: float | None = None
        self._last = 0.0
        self._episode = 0.0
        self._longest = 0.0

    def record(self, error: Exception, began_s: float, ended_s: float) -> None:
        """Record one failed operation.

        Args:
            error: what the operation raised.
            began_s, ended_s: when the operation began and ended, in seconds since the start.
        """
        name = type(error).__name__
        with self._lock:
            self._by_class[name] += 1
            self._examples.setdefault(name, str(error))
            if self._first is None or began_s - self._last >= EPISODE_GAP_S:
                self._episode = began_s
            # Operations are recorded in the order in which they ended, not began.
            self._episode = min(self._episode, began_s)
            self._first = began_s if self._first is None else min(self._first, began_s)
            self._last = max(self._last, ended_s)
            self._longest = max(self._longest, self._last - self._episode)

    @property
    def total(self) -> int:
        """The number of failed operations."""
        with self._lock:
            return self._by_class.total()

    def by_class(self) -> dict[str, int]:
        """Return the number of failures by name of the exception, the most frequent first."""
        with self._lock:
            return dict(self._by_class.most_common())

    def examples(self) -> dict[str, str]:
        """Return the first message of each exception, by its name."""
        with self._lock:
            return dict(self._examples)

    def window(self) -> ErrorWindow | None:
        """Return when operations failed, or None if none did."""
        with self._lock:
            if self._first is None:
                return None
            return ErrorWindow(round(self._first, 3), round(self._last, 3), round(self._longest, 3))
