"""A socket whose HTTP reply is bounded in bytes and in total time.

`http.client` limits the length of a line and the wait for each read. It limits neither the number
of lines nor the total time, and it reads a chunk of negative length until the connection closes.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any


def bounded_socket(sock: socket.socket, max_bytes: int, deadline: float) -> Any:
    """Wrap a connected socket for `http.client.HTTPConnection`, with limits on what is read.

    Args:
        sock: a connected socket.
        max_bytes: how many bytes a reply may have, headers included; a read beyond that raises
            HTTPException.
        deadline: by `time.monotonic`, in seconds; a later send or read raises TimeoutError.
    """
    return _Socket(sock, max_bytes, deadline)


class _Socket:
    """The part of a socket that `http.client` uses."""

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
    """A socket's bytes, counted and timed."""

    def __init__(self, sock: socket.socket, max_bytes: int, deadline: float) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)  # keeps the socket open until closed
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
    """Return the seconds until the deadline, or raise TimeoutError."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left
