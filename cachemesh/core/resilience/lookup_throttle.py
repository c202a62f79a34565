"""The lookup throttle: when Sentinels may be asked next, so that a failover does not flood them."""

from __future__ import annotations

SPACING = 0.6
"""Seconds from one look-up to the next, for each Sentinel that the look-up asked."""

SLOWEST = 2.0
"""Seconds between look-ups, give or take a quarter, when no Sentinel has answered for a while."""


class LookupThrottle:
    """Spaces look-ups: not quite 2 a second, fewer while no Sentinel answers. Not for two threads.

    Attributes:
        ready_at: when the next look-up may begin, in seconds on the clock of ``started``.
    """

    def __init__(self) -> None:
        self.ready_at = float("-inf")
        self._spacing = SPACING

    def asked(self, started: float, calls: int, answered: bool, jitter: float) -> None:
        """Record a look-up, and set when the next one may begin.

        Args:
            started: when the look-up began, in seconds.
            calls: how many Sentinels were asked.
            answered: whether one of them answered.
            jitter: from 0 to 1, so that processes do not all come back at once.
        """
        spacing = SPACING * max(1, calls)
        if answered:
            self._spacing = SPACING
        else:
            spacing = max(spacing, self._spacing * (0.75 + jitter / 2))
            self._spacing = min(self._spacing * 2, SLOWEST)
        self.ready_at = started + spacing
