"""Whether an instance is worth a command: a breaker as a plain state machine.

    closed --FAILURES in a row--> open --a probe begins--> half-open --it succeeds--> closed
                                   ^                           |
                                   +------- it fails ----------+

While it is not closed, commands fail at once; a probe, which no app waits for, finds out when the
instance serves again. Times and chance come in as arguments. The pattern is Nygard's, "Release
It!", as in https://martinfowler.com/bliki/CircuitBreaker.html.
"""

from __future__ import annotations

from dataclasses import dataclass

from cachemesh.core.names import Address

FAILURES = 3
"""Failures in a row that open a breaker."""

FORGET_SECONDS = 10.0
"""Failures longer apart than this are no row."""

FIRST_DELAY, LONGEST_DELAY = 0.1, 1.0
"""Seconds from opening to the first probe, and at most between two."""


class Breaker:
    """The breaker of one instance. The caller locks, or is the only one to call.

    Attributes:
        state: ``closed``, ``open`` or ``half-open``.
        failures: failures in a row.
    """

    __slots__ = ("_delay", "_failed_at", "failures", "state")

    def __init__(self) -> None:
        self.state = "closed"
        self.failures = 0
        self._failed_at = float("-inf")
        self._delay = FIRST_DELAY

    @property
    def closed(self) -> bool:
        """Whether commands are to be sent."""
        return self.state == "closed"

    def failed(self, now: float) -> bool:
        """The instance did not serve; whether this has opened the breaker.

        Args:
            now: seconds on any clock that only rises.
        """
        if now - self._failed_at > FORGET_SECONDS:
            self.failures = 0
        self.failures += 1
        self._failed_at = now
        if self.state != "closed" or self.failures < FAILURES:
            return False
        self.state = "open"
        return True

    def served(self) -> bool:
        """A command was answered; whether that leaves no doubt.

        It ends a row of failures, but only a probe closes a breaker that is not closed: with
        connections there were before, commands may go on where new ones are refused.
        """
        if self.closed:
            self.failures = 0
        return self.closed

    def succeeded(self) -> None:
        """The instance serves, as far as a probe can tell."""
        self.state = "closed"
        self.failures = 0
        self._delay = FIRST_DELAY

    def delay(self, jitter: float) -> float:
        """Seconds until the next probe, longer each time.

        Args:
            jitter: from 0 to 1, so that many clients do not come at once.
        """
        delay = self._delay * (0.5 + jitter / 2)
        self._delay = min(self._delay * 2, LONGEST_DELAY)
        return delay

    def probing(self) -> None:
        """A probe begins; there is never more than one."""
        self.state = "half-open"

    def probe_failed(self) -> None:
        """It found that the instance does not serve."""
        self.state = "open"


@dataclass(frozen=True)
class ShardHealth:
    """What a client knows of one shard.

    Attributes:
        master: where it is; None if nobody knows.
        breaker: of the master: ``closed``, ``open`` or ``half-open``.
        misses: reads answered as misses since the client was made, because the shard did not serve.
        dropped: writes dropped for the same reason.
    """

    master: Address | None
    breaker: str
    misses: int
    dropped: int
