"""The retry policy: timeouts, and the delay before each attempt."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cachemesh.core.resilience.error_classification import Failure

_RETRY_SECONDS = 10.0  # for a command without a timeout

_MOST_BROKEN = 2  # attempts that may have run
_TELLING_SHARE = 0.2  # of the usual time to connect
_FIRST_DELAY, _LONGEST_DELAY = 0.005, 0.1


@dataclass(frozen=True)
class Timeouts:
    """The timeouts of a client, in seconds; None is for ever.

    Attributes:
        reply: for a command, with all its attempts.
        connect: to connect, with the handshake.
    """

    reply: float | None
    connect: float | None

    def connecting(self, within: float | None) -> float | None:
        """Return the seconds that connecting may take, with the handshake.

        Args:
            within: seconds that are left; None for the usual time.
        """
        bounds = [s for s in (self.reply, self.connect, within) if s is not None]
        shortest = min(bounds, default=math.inf)
        return None if shortest == math.inf else max(shortest, 0.001)

    def too_short(self, within: float | None) -> bool:
        """Return whether a timeout after ``within`` seconds tells nothing about the instance.

        That is so where much less than the usual time to connect was left.
        """
        usual = self.connecting(None)
        return within is not None and within < (math.inf if usual is None else usual) * (
            _TELLING_SHARE
        )


def retry_until(deadline: float, now: float) -> float:
    """Return the deadline of the last attempt, which is finite also for a command without one."""
    return now + _RETRY_SECONDS if deadline == math.inf else deadline


class Attempts:
    """Counts the attempts of one request, and decides about the next one.

    Args:
        retriable: the request may run twice: it only reads, or the app has said so.
        deadline: of the last attempt, in seconds on the clock of ``now``.
    """

    __slots__ = ("_broken", "_delay", "_retriable", "deadline")

    def __init__(self, retriable: bool, deadline: float) -> None:
        self._retriable = retriable
        self.deadline = deadline
        self._delay = 0.0
        self._broken = 0

    def delay(self, failure: Failure, now: float, jitter: float) -> float | None:
        """Return the seconds until the next attempt, which another master may shorten.

        Args:
            failure: of the last attempt.
            now: seconds.
            jitter: from 0 to 1, so that threads do not come at once.

        Returns:
            None if there is to be no other attempt.
        """
        if failure in (Failure.BROKEN, Failure.NO_REPLY):
            self._broken += 1
            if not self._retriable or self._broken > _MOST_BROKEN:
                return None
        delay = self._delay * (0.5 + jitter / 2)
        self._delay = min(max(self._delay * 2, _FIRST_DELAY), _LONGEST_DELAY)
        return delay if now + delay < self.deadline else None
