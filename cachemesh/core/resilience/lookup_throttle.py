"""When Sentinels may be asked next: so seldom that a failover does not drown them in questions."""

from __future__ import annotations

SPACING = 0.6
"""Seconds from one look-up to the next, for each Sentinel that it took."""

SLOWEST = 2.0
"""Seconds between look-ups, give or take a quarter, after none has answered for a while."""


class Pace:
    """Spaces look-ups: not quite 2 a second, fewer while nobody answers. Not for two threads."""

    def __init__(self) -> None:
        self.ready_at = float("-inf")
        self._pause = SPACING

    def asked(self, started: float, calls: int, answered: bool, chance: float) -> None:
        """Note a look-up.

        Args:
            started: when it began, in seconds.
            calls: how many Sentinels it has asked.
            answered: whether one of them answered.
            chance: from 0 to 1, so that processes do not all come back at once.
        """
        pause = SPACING * max(1, calls)
        if answered:
            self._pause = SPACING
        else:
            pause = max(pause, self._pause * (0.75 + chance / 2))
            self._pause = min(self._pause * 2, SLOWEST)
        self.ready_at = started + pause
