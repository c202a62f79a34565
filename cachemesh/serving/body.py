"""The body of a request, with a time limit and with the framing that its headers announce."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

import gevent
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, RequestTimeout


class GunicornBody(Protocol):
    """gunicorn's object for the body of a request."""

    def read(self, size: int | None = None) -> bytes:
        """Return up to `size` bytes (None: all); b"" at the end."""

    def readline(self, size: int | None = None) -> bytes:
        """Return the bytes up to and with the next line feed; b"" at the end."""


class GunicornRequest(Protocol):
    """gunicorn's object for a request."""

    def force_close(self) -> None:
        """Have the connection closed after the reply."""


class Body:
    """The `wsgi.input` of one request.

    Args:
        stream: the body as gunicorn reads it.
        seconds: time limit for the whole body, from now on.
        request: the body's request; once the body is broken, its reply says `Connection: close`.

    Attributes:
        broken: whether the body did not arrive in time or complete; where the next request on the
            connection begins is then unknown.

    Raises:
        RequestTimeout: (408, every method that reads) the time is up.
        BadRequest: (400, every method that reads) the framing is broken or the sender is gone.
    """

    __slots__ = ("_deadline", "_request", "_seconds", "_stream", "broken")

    def __init__(self, stream: GunicornBody, seconds: float, request: GunicornRequest) -> None:
        self._stream = stream
        self._request = request
        self._deadline = time.monotonic() + seconds
        self._seconds = seconds
        self.broken = False

    def read(self, size: int | None = None) -> bytes:
        """Return up to `size` bytes (None: all); b"" at the end."""
        return self._in_time(self._stream.read, size)

    def readline(self, size: int | None = None) -> bytes:
        """Return the bytes up to and with the next line feed; b"" at the end."""
        return self._in_time(self._stream.readline, size)

    def readlines(self, _hint: int | None = None) -> list[bytes]:
        """Return all lines that are left."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def drained(self, seconds: float, most: int) -> bool:
        """Discard what the app did not read.

        Args:
            seconds: time limit.
            most: bytes after which to give up.

        Returns:
            Whether the end of the body was reached.
        """
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
        # gevent takes a timer of 0 s for none.
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
