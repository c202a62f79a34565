"""The circuit breaker of an instance: a state machine that decides whether commands are sent.

    closed --FAILURES in a row--> open --a probe begins--> half-open --it succeeds--> closed
                                   ^                           |
                                   +------- it fails ----------+

While the breaker is not closed, commands fail at once. A probe, which no command waits for, finds
out when the instance serves again. Times and jitter come in as arguments.

Source: M. Nygard, "Release It!", as in https://martinfowler.com/bliki/CircuitBreaker.html.
"""

from __future__ import annotations

from dataclasses import dataclass

from cachemesh.core.names import Address

FAILURES = 3
"""Failures in a row that open a breaker."""

FORGET_SECONDS = 10.0
"""Failures further apart than this do not count as a row."""

FIRST_DELAY, LONGEST_DELAY = 0.1, 1.0
"""Seconds from opening to the first probe, and the longest time between two probes."""


class Breaker:
    """The circuit breaker of one instance. The caller locks, or is the only one to call.

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
        """Whether commands are sent."""
        return self.state == "closed"

    def failed(self, now: float, began: float | None = None) -> bool:
        """Record that the instance did not serve; return whether this has opened the breaker.

        Args:
            now: seconds on any clock that only rises.
            began: when the attempt did, if of attempts that failed together one counts: a server
                that ends all connections, as a fence has it do, may serve the next ones.
        """
        if began is not None and began <= self._failed_at:
            return False
        if now - self._failed_at > FORGET_SECONDS:
            self.failures = 0
        self.failures += 1
        self._failed_at = now
        if self.state != "closed" or self.failures < FAILURES:
            return False
        self.state = "open"
        return True

    def served(self) -> bool:
        """Record a successful reply: reset the failure count; return whether the breaker is closed.

        Only a successful probe closes an open breaker: commands may still succeed on connections
        from before, while the instance refuses new connections.
        """
        if self.closed:
            self.failures = 0
        return self.closed

    def succeeded(self) -> None:
        """Close the breaker: a probe succeeded."""
        self.state = "closed"
        self.failures = 0
        self._delay = FIRST_DELAY

    def delay(self, jitter: float) -> float:
        """Return the seconds until the next probe, longer each time.

        Args:
            jitter: from 0 to 1, so that many clients do not probe at once.
        """
        delay = self._delay * (0.5 + jitter / 2)
        self._delay = min(self._delay * 2, LONGEST_DELAY)
        return delay

    def probing(self) -> None:
        """Note that a probe begins; there is never more than one."""
        self.state = "half-open"

    def probe_failed(self) -> None:
        """Open the breaker again: the probe found that the instance does not serve."""
        self.state = "open"


@dataclass(frozen=True)
class ShardHealth:
    """What a client knows of one shard.

    Attributes:
        master: its address; None if no master is known.
        breaker: of the master: ``closed``, ``open`` or ``half-open``.
        misses: reads answered as misses since the client was made, because the shard did not serve.
        dropped: writes dropped for the same reason.
    """

    master: Address | None
    breaker: str
    misses: int
    dropped: int
