"""Limits of the calls that one token may have in progress, so that no token starves the others.

A call counts until its reply has been sent. Calls of clients and streams, which last long, have
limits of their own.
"""

from __future__ import annotations

from collections import Counter

from metaserver.domain.errors import RequestRefused

STREAMS = 1_000
OTHERS = 100
# These are cheap, and a fleet makes one for each client, all at the same moment.
_BY_CLIENTS = frozenset({"watchPool", "leavePool", "getPool"})


class CallLimits:
    """Counts the calls in progress by token.

    Args:
        clients: the limit of those calls that every client makes.
    """

    def __init__(self, clients: int) -> None:
        self._clients = clients
        self._calls: Counter[tuple[str, str]] = Counter()

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
        self._calls[token, kind] += 1

    def leave(self, token: str, operation: str) -> None:
        """Record that a counted call has ended."""
        kind, _most = self._kind(operation)
        self._calls[token, kind] -= 1
        if not self._calls[token, kind]:
            del self._calls[token, kind]

    def _kind(self, operation: str) -> tuple[str, int]:
        if operation in _BY_CLIENTS:
            return "calls of clients", self._clients
        return ("streams", STREAMS) if operation == "stream" else ("other calls", OTHERS)
