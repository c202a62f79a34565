"""One HTTP connection that is kept open from a watch call to the next one.

A change has every client of a fleet make another call at the same moment: with the connection kept,
none of them has to connect for it.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Hashable

from cachemesh.discovery.wakeup import StopEvent

STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)
"""What a call on a kept connection raises if the metaserver has closed it meanwhile."""

_KEEP_SECONDS = 3.0  # the metaserver keeps it for 5


class KeptConnection:
    """The place for one connection. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: tuple[Hashable, float, http.client.HTTPConnection] | None = None

    def take(self, server: Hashable) -> http.client.HTTPConnection | None:
        """Return the connection if it is to this server and was used just now; else close it."""
        with self._lock:
            kept, self._kept = self._kept, None
        if kept is None:
            return None
        to, since, connection = kept
        if to == server and time.monotonic() - since < _KEEP_SECONDS:
            return connection
        connection.close()
        return None

    def keep(
        self, server: Hashable, connection: http.client.HTTPConnection, stop: StopEvent | None
    ) -> bool:
        """Keep a connection, in place of another one, unless `stop` is set."""
        with self._lock:
            if stop is not None and stop.is_set():
                return False
            former, self._kept = self._kept, (server, time.monotonic(), connection)
        if former is not None:
            former[2].close()
        return True

    def close(self) -> None:
        """Close the connection that is kept, if any."""
        self.take(None)
