"""A bell that wakes whoever waits for news."""

from __future__ import annotations

import threading


class Bell:
    """Wakes all who wait; a ring between two waits is not missed.

    Attributes:
        rung: how often it has rung.
    """

    def __init__(self) -> None:
        self._rings = threading.Condition()
        self.rung = 0

    def ring(self) -> None:
        """Wake all who wait."""
        with self._rings:
            self.rung += 1
            self._rings.notify_all()

    def wait(self, rung: int, seconds: float) -> None:
        """Wait until the bell has rung more than `rung` times, at most so many seconds."""
        with self._rings:
            self._rings.wait_for(lambda: self.rung > rung, seconds)
