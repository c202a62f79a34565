"""The reply to one HTTP request, bounded in bytes and in time as a whole.

`http.client` bounds each line and each wait for bytes, but neither how many lines there are nor how
long they take together, and it takes a chunk of a length below zero for all that comes.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any


def bounded_socket(sock: socket.socket, max_bytes: int, deadline: float) -> Any:
    """A connected socket as `http.client.HTTPConnection` uses it.

    Reading from it raises TimeoutError after the deadline (by `time.monotonic`), and HTTPException
    after so many bytes, headers counted.
    """
    return _Socket(sock, max_bytes, deadline)


class _Socket:
    def __init__(self, sock: socket.socket, max_bytes: int, deadline: float) -> None:
        self._sock = sock
        self._bounds = max_bytes, deadline
        self.close = sock.close

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(_left(self._bounds[1]))
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Stream(self._sock, *self._bounds))


class _Stream(io.RawIOBase):
    def __init__(self, sock: socket.socket, max_bytes: int, deadline: float) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)  # which keeps the socket open until closed
        self._max_bytes, self._deadline = max_bytes, deadline
        self._bytes_left = max_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_left(self._deadline))
        count = self._raw.readinto(buffer) or 0
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise http.client.HTTPException(f"its reply has more than {self._max_bytes} bytes")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left
