"""Error classification: which failure a reply or an exception is, and whether the app sees it."""

from __future__ import annotations

from enum import Enum

import redis

from cachemesh.core.names import Address


class Failure(Enum):
    """How an attempt failed. After BROKEN and NO_REPLY the command may have run, else it has not.

    NOT_SENT: there is no connection.
    NOT_MASTER: the instance is a replica, or has just become one.
    NOT_READY: the instance loads its data, or has lost its master.
    LACKS_REPLICAS: the master refuses writes, as it has fewer replicas than it wants.
    BROKEN: the connection broke before the reply came.
    NO_REPLY: no reply came in time.
    """

    NOT_SENT = 1
    NOT_MASTER = 2
    NOT_READY = 3
    BROKEN = 4
    NO_REPLY = 5
    LACKS_REPLICAS = 6


class NotSentError(Exception):
    """There is no connection, so nothing was sent. The cause is what redis-py raised, if any."""


class BreakerOpenError(NotSentError):
    """The instance did not serve lately, so only a probe may connect to it."""

    def __init__(self, why: str = "it did not serve lately, and is probed until it does") -> None:
        super().__init__(why)


class WrongRoleError(redis.ReadOnlyError):
    """An instance that was taken for a master is a replica.

    Attributes:
        master: the address of its master, as the replica tells it.
    """

    def __init__(self, message: str, master: Address | None) -> None:
        super().__init__(message)
        self.master = master


class FencedOffError(redis.ConnectionError):
    """An instance is not to be used by a client that acts on too old a version of the pool.

    Args:
        acts_on: the version that the client acts on.
        wanted: the lowest version that may be acted on.
    """

    def __init__(self, where: str, acts_on: int, wanted: int) -> None:
        super().__init__(
            f"{where} is fenced: this client acts on version {acts_on} of the pool, and has to act "
            f"on {wanted} or later; it has asked the metaservers for that"
        )
        self.acts_on = acts_on
        self.wanted = wanted


NOT_SERVED = (NotSentError, OSError, redis.RedisError, MemoryError)
"""The exceptions of an attempt that failed. An interruption is none of them."""

CONNECT_REPLIES = (redis.AuthenticationError, redis.ReadOnlyError, FencedOffError)
"""The errors of connecting that are replies of an instance which serves."""

_REFUSALS: dict[type[Exception], Failure] = {
    redis.exceptions.ReadOnlyError: Failure.NOT_MASTER,
    redis.exceptions.BusyLoadingError: Failure.NOT_READY,
    redis.exceptions.MasterDownError: Failure.NOT_READY,
    redis.exceptions.ClusterDownError: Failure.NOT_READY,
    redis.exceptions.TryAgainError: Failure.NOT_READY,
}

_DISCARDED = "Transaction discarded because of: "  # by EXEC, where all before was queued
_REFUSAL_TEXTS = {
    "UNBLOCKED": Failure.NOT_MASTER,  # the command waited for a key as the master became a replica
    "READONLY": Failure.NOT_MASTER,
    "MASTERDOWN": Failure.NOT_READY,
    "CLUSTERDOWN": Failure.NOT_READY,
    "LOADING": Failure.NOT_READY,
    "NOREPLICAS": Failure.LACKS_REPLICAS,
}


def refused(reply: Exception) -> Failure | None:
    """Return why an error reply means that the command has not run and is to be sent again.

    Returns:
        None if the error is about the command itself.
    """
    failure = _REFUSALS.get(reply.__class__)
    if failure is None:
        text = str(reply).removeprefix(_DISCARDED)
        return next((f for start, f in _REFUSAL_TEXTS.items() if text.startswith(start)), None)
    return failure


def lacks_replicas(reply: object) -> bool:
    """Return whether an error reply says that a write was not run for want of replicas."""
    return isinstance(reply, redis.ResponseError) and refused(reply) is Failure.LACKS_REPLICAS


def is_answer(error: Exception) -> bool:
    """Return whether an error is a server's answer to the command itself, which the app is to see.

    No answer are: an exception that came instead of a reply, and a reply which says that the
    command has not run and is to be sent again. redis-py makes some answers, such as ``NOAUTH``,
    subclasses of its ``ConnectionError``; that class itself is what its connections raise when
    they break.
    """
    answers = isinstance(error, redis.ResponseError) or (
        isinstance(error, redis.ConnectionError) and type(error) is not redis.ConnectionError
    )
    return answers and refused(error) is None


def failure_of(error: Exception) -> Failure | None:
    """Return how an attempt failed; None if the request is not to be sent again at all."""
    if isinstance(error, NotSentError):
        cause = error.__cause__
        if isinstance(cause, (redis.AuthenticationError, FencedOffError)):
            return None  # the command may belong to another shard by now
        return Failure.NOT_MASTER if isinstance(cause, redis.ReadOnlyError) else Failure.NOT_SENT
    if isinstance(error, (MemoryError, redis.DataError)):
        return None
    if isinstance(error, (TimeoutError, BlockingIOError, redis.TimeoutError)):
        return Failure.NO_REPLY
    if isinstance(error, redis.ReadOnlyError):
        return Failure.NOT_MASTER
    failure = refused(error)
    if failure is None and not isinstance(error, redis.ResponseError):
        failure = Failure.BROKEN
    return failure


def told_master(error: BaseException | None) -> Address | None:
    """Return the master that a replica named in the cause of an error; None if none did."""
    while error is not None:
        if isinstance(error, WrongRoleError):
            return error.master
        error = error.__cause__
    return None
