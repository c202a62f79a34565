"""The body of a request: it has to arrive in time, and framed as its headers say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

import gevent
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, RequestTimeout


class Stream(Protocol):
    """What gunicorn makes of a request's body."""

    def read(self, size: int | None = None) -> bytes:
        """Up to `size` bytes (None: all); b"" at the end."""

    def readline(self, size: int | None = None) -> bytes:
        """Bytes up to and with the next line feed; b"" at the end."""


class Request(Protocol):
    """What gunicorn makes of a request."""

    def force_close(self) -> None:
        """Let no other request follow on the connection."""


class Body:
    """`wsgi.input` of one request.

    Args:
        stream: the body as gunicorn reads it.
        seconds: from now on, for the whole body.
        request: whose body it is; its reply says `Connection: close` once the body is broken.

    Every method that reads raises werkzeug's `RequestTimeout` (408) once the time is up, and
    `BadRequest` (400) if the framing is broken or the sender is gone. `broken` is then True: where
    the next request begins is unknown.
    """

    __slots__ = ("_deadline", "_request", "_seconds", "_stream", "broken")

    def __init__(self, stream: Stream, seconds: float, request: Request) -> None:
        self._stream = stream
        self._request = request
        self._deadline = time.monotonic() + seconds
        self._seconds = seconds
        self.broken = False

    def read(self, size: int | None = None) -> bytes:
        return self._in_time(self._stream.read, size)

    def readline(self, size: int | None = None) -> bytes:
        return self._in_time(self._stream.readline, size)

    def readlines(self, _hint: int | None = None) -> list[bytes]:
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def drained(self, seconds: float, most: int) -> bool:
        """Discard what the app did not read. False: more than `most` bytes, too slow, or broken."""
        self._deadline = time.monotonic() + seconds
        discarded = 0
        try:
            while not self.broken and discarded <= most:
                data = self.read(64 * 1024)
                if not data:
                    return True
                discarded += len(data)
        except (BadRequest, RequestTimeout):
            return False
        return False

    def _in_time(self, read: Callable[[int | None], bytes], size: int | None) -> bytes:
        # A timer of 0 s would be none.
        timer = gevent.Timeout.start_new(max(0.001, self._deadline - time.monotonic()))
        try:
            return read(size)
        except gevent.Timeout as fired:
            self._break()
            if fired is not timer:
                raise
            raise RequestTimeout(f"The body did not arrive within {self._seconds:g} s") from None
        except (ParseException, OSError) as error:
            self._break()
            raise BadRequest(f"The body is not framed as HTTP/1.1 has it: {error}") from error
        finally:
            timer.close()

    def _break(self) -> None:
        self.broken = True
        self._request.force_close()
