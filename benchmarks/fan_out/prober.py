"""Calls of the API while clients are told: how long each waits for its reply."""

from __future__ import annotations

import http.client
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


class Prober:
    """Sends GET requests one after the other, on a connection kept open, and times each.

    Args:
        address: ``host:port`` of the metaserver.
        token: the bearer token.
        path: what to get.
        every: seconds between two requests, from one's beginning to the next one's.
    """

    def __init__(self, address: str, token: str, path: str, every: float = 0.01) -> None:
        self._address, self._path, self._every = address, path, every
        self._headers = {"Authorization": f"Bearer {token}"}
        self._stop = threading.Event()
        self._times: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def within(self, begin: float, end: float) -> list[float]:
        """Return the seconds of the requests that were under way between two times."""
        return [took for at, took in self._times if at + took >= begin and at <= end]

    def settle(self, after: float) -> None:
        """Wait until a request that began after this time has been answered."""
        while not self._times or self._times[-1][0] < after:
            time.sleep(0.01)

    def _run(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=60)
        while not self._stop.is_set():
            began = time.monotonic()
            connection.request("GET", self._path, headers=self._headers)
            reply = connection.getresponse()
            reply.read()
            if reply.status != 200:
                raise RuntimeError(f"GET {self._path} was answered with {reply.status}")
            took = time.monotonic() - began
            self._times.append((began, took))
            self._stop.wait(self._every - took)
        connection.close()
