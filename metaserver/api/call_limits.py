"""Limits of the calls of one token, at once and per second, so that no token starves the others.

A call is in progress until its reply has been sent. Calls of clients and streams, which last long,
have limits of their own.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from metaserver.domain.errors import RequestRefused

STREAMS = 1_000
OTHERS = 100
_BURST = 2.0  # seconds whose calls may come at once
# These are cheap, and a fleet makes one for each client, all at the same moment.
_CLIENTS = "calls of clients"
_BY_CLIENTS = frozenset({"watchPool", "leavePool", "getPool"})


class CallLimits:
    """Counts the calls in progress by token.

    Args:
        clients: the limit of those calls that every client makes, at once and per second.
        per_second: the limit of the others per second.
        clock: returns monotonic seconds.
    """

    def __init__(
        self, clients: int, per_second: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clients = clients
        self._per_second = per_second
        self._clock = clock
        self._calls: Counter[tuple[str, str]] = Counter()
        self._left: dict[tuple[str, str], tuple[float, float]] = {}  # calls left, as of when

    def enter(self, token: str, operation: str) -> None:
        """Count one more call of the token.

        Raises:
            RequestRefused: too-many-requests: the call is not counted.
        """
        kind, most = self._kind(operation)
        if self._calls[token, kind] >= most:
            raise RequestRefused(
                "too-many-requests",
                f"{most} {kind} of this token are under way",
                "wait until some have ended, or use several tokens",
            )
        self._take(token, kind)
        self._calls[token, kind] += 1

    def _take(self, token: str, kind: str) -> None:
        """Take one call from those that the token has left, which grow with time."""
        rate = self._per_second
        if kind == _CLIENTS:
            rate = max(rate, self._clients)
        most, now = rate * _BURST, self._clock()
        left, since = self._left.get((token, kind), (most, now))
        left = min(most, left + (now - since) * rate)
        if left < 1:
            raise RequestRefused(
                "too-many-requests",
                f"This token makes more than {rate} {kind} per second",
                "make fewer, or use several tokens",
            )
        self._left[token, kind] = left - 1, now

    def leave(self, token: str, operation: str) -> None:
        """Record that a counted call has ended."""
        kind, _most = self._kind(operation)
        self._calls[token, kind] -= 1
        if not self._calls[token, kind]:
            del self._calls[token, kind]

    def _kind(self, operation: str) -> tuple[str, int]:
        if operation in _BY_CLIENTS:
            return _CLIENTS, self._clients
        return ("streams", STREAMS) if operation == "stream" else ("other calls", OTHERS)
