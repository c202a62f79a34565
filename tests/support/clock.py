"""A monotonic clock that stands still until the test moves it."""

from __future__ import annotations


class Clock:
    """Seconds; tests set `now`."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
