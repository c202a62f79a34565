"""How an attempt at an instance fails, before an app hears of it."""

from __future__ import annotations

import redis

from cachemesh.core.resilience.retry import Failure, refused


class NotSentError(Exception):
    """There is no connection, so nothing was sent. The cause is what redis-py raised, if any."""


class BreakerOpenError(NotSentError):
    """The instance did not serve lately; it is being probed."""

    def __init__(self, why: str = "it did not serve lately, and is probed until it does") -> None:
        super().__init__(why)


NOT_SERVED = (NotSentError, OSError, redis.RedisError, MemoryError)
"""What an attempt raises, besides what interrupts it."""


TELLING = (redis.AuthenticationError, redis.ReadOnlyError)
"""What an instance that serves may say to whoever connects."""

PING = b"*1\r\n$4\r\nPING\r\n"
"""A probe's command: unlike the handshake it is refused while an instance loads its data."""

PING_SECONDS = 1.0


def is_answer(error: Exception) -> bool:
    """Whether an error is a server's answer to the command itself, which the app is to see.

    False of what came instead of a reply, and of a reply which says that the command has not run
    and belongs elsewhere, or later. redis-py makes some answers, such as ``NOAUTH``, subclasses of
    its ``ConnectionError``; that class itself is what its connections raise when they break.
    """
    answers = isinstance(error, redis.ResponseError) or (
        isinstance(error, redis.ConnectionError) and type(error) is not redis.ConnectionError
    )
    return answers and refused(error) is None


def failure_of(error: Exception) -> Failure | None:
    """How an attempt failed; None if it is not to be tried again at all."""
    if isinstance(error, NotSentError):
        cause = error.__cause__
        if isinstance(cause, redis.AuthenticationError):
            return None
        return Failure.NOT_MASTER if isinstance(cause, redis.ReadOnlyError) else Failure.NOT_SENT
    if isinstance(error, MemoryError):
        return None
    if isinstance(error, (TimeoutError, BlockingIOError, redis.TimeoutError)):
        return Failure.NO_REPLY
    if isinstance(error, redis.ReadOnlyError):
        return Failure.NOT_MASTER
    failure = refused(error)
    if failure is None and not isinstance(error, redis.ResponseError):
        failure = Failure.BROKEN
    return failure
