"""Bounds on what a redis-py connection reads in all, however slowly the replies come.

redis-py bounds each read of the socket, with asyncio each reply. A server that sends a byte now and
then would hold a handshake, or the replies of a transaction, for as long as it likes.

Beyond redis-py's public interface, its parser's ``read_from_socket`` is overridden here.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis._parsers import _HiredisParser

_UNTOLD: Any = inspect.signature(_HiredisParser.read_from_socket).parameters["timeout"].default
"""What redis-py passes where nobody said how long to wait."""


@contextmanager
def in_all(connection: Any, seconds: float | None) -> Iterator[None]:
    """Bound all that a connection of `cachemesh.transport.name_resolution` reads meanwhile.

    What is read later raises redis.TimeoutError and closes the connection. What was bounded before
    stays so. A connection that goes back to its pool meanwhile leaves the bound behind.

    Args:
        seconds: from now on; None or infinity: as long as it takes.
    """
    former = getattr(connection, "deadline", math.inf)  # an app's own class knows none
    limit = math.inf if seconds is None else seconds
    bound = connection.deadline = min(former, time.monotonic() + limit)
    try:
        yield
    finally:
        if connection.deadline == bound:  # else another task or thread has the connection by now
            connection.deadline = former


class Parser(_HiredisParser):
    """redis-py's, that reads until ``deadline`` (by `time.monotonic`) unless told how long."""

    deadline = math.inf

    def read_from_socket(self, timeout: Any = _UNTOLD, raise_on_timeout: bool = True) -> Any:
        """Raises redis.TimeoutError if it is too late."""
        if timeout is _UNTOLD and self.deadline != math.inf:
            timeout = self.deadline - time.monotonic()
            if timeout <= 0:
                raise redis.TimeoutError("no reply in time")
        read: Any = super().read_from_socket  # untyped in redis-py
        return read(timeout, raise_on_timeout)
