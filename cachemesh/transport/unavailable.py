"""The errors that tell an app why a shard did not serve, and what to do about it."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import redis

from cachemesh.core.errors import (
    FencedError,
    LoginRefusedError,
    ShardTimeoutError,
    ShardUnavailableError,
)
from cachemesh.core.migration.pull import NotReplicatedError, TransferError
from cachemesh.core.names import Address
from cachemesh.core.resilience.error_classification import (
    Failure,
    FencedOffError,
    NotSentError,
    refused,
)

TIMEOUTS = (TimeoutError, asyncio.TimeoutError, redis.TimeoutError)
"""Every class of timeout. Before Python 3.11 the second is not the first."""


def nobody_knows(shard: str, look: str) -> ShardUnavailableError:
    """Return the error when no master is known; ``look`` is of `MasterLocator.advice`."""
    return ShardUnavailableError(f"Shard {shard!r}: no Sentinel knows its master; {look}")


def closed_meanwhile(shard: str) -> ShardUnavailableError:
    """Return the error of a command that was under way when its client was closed."""
    return ShardUnavailableError(
        f"Shard {shard!r}: the client was closed before the command was done; close it when no "
        "command is under way"
    )


def closed_while_listening() -> ShardUnavailableError:
    """Return the error of a call that waits for messages when the client is closed."""
    return ShardUnavailableError(
        "The client was closed while its subscriptions were listened to; close those first"
    )


def still_moving(source: str, target: str, error: Exception | None) -> ShardUnavailableError:
    """Return the error for a command whose key could not be pulled from its source.

    Args:
        source, target: names of the shards.
        error: why; None if there was no time left.
    """
    late = error is None or isinstance(error, (NotReplicatedError, TransferError))
    kind = ShardTimeoutError if late else ShardUnavailableError
    how = "did not get there in time" if late else "cannot get there"
    return kind(
        f"The key is moving from shard {source!r} to {target!r}, and {how}"
        f"{'' if error is None else f': {error}'}; the command was not sent. See: cachemesh "
        "migration status"
    )


def no_replica(shard: str, max_lag: float | None, error: Exception | None) -> ShardUnavailableError:
    """Return the error when no replica answers a read with ``read_from="replica"``.

    Args:
        shard: its name.
        max_lag: seconds that replicas may be behind; None for no bound.
        error: of the last replica that was asked; None if none was.
    """
    bound = "" if max_lag is None else f", at most {max_lag:g} s behind,"
    last = "" if error is None else f"; the last one tried: {error}"
    return ShardUnavailableError(
        f"Shard {shard!r}: no replica is up{bound} and has this client's own writes{last}; "
        "read_from='prefer_replica' would read from the master then"
    )


def login_refused(shard: str, address: Address | None, error: Exception) -> LoginRefusedError:
    """Return the error when the master refuses the client's login."""
    return LoginRefusedError(
        f"Shard {shard!r} at {address} refuses the login: {error}; check the options username and "
        "password, or what credential_provider gives"
    )


def not_serving(
    shard: str, address: Address | None, error: Exception, look: str
) -> ShardUnavailableError:
    """Return the error when an instance does not serve, with the reason and what to do.

    Args:
        shard: its name.
        address: of the instance.
        error: of the attempt.
        look: of `MasterLocator.advice`.
    """
    if isinstance(error, ShardUnavailableError):
        return error
    timed_out = isinstance(error, (BlockingIOError, *TIMEOUTS))
    kind = ShardTimeoutError if timed_out else ShardUnavailableError
    if isinstance(error, BlockingIOError) or (timed_out and not str(error)):
        why = "no reply in time"
    elif isinstance(error, MemoryError):
        why = "no memory for its reply"
    else:
        why = str(error) or type(error).__name__
    return kind(
        f"Shard {shard!r} at {address}: {why}; its keys fail until it is back or a replica is "
        f"promoted, {look}"
    )


def fenced(shard: str, error: FencedOffError) -> FencedError:
    """Return the error when a shard refuses a client that acts on too old a version."""
    told = FencedError(
        f"Shard {shard!r}: {error}; send the command again, and if that lasts, check why this "
        "process cannot reach the metaservers: cachemesh client list"
    )
    told.acts_on, told.wanted = error.acts_on, error.wanted
    return told


def raise_unserved(shard: str, address: Address | None, error: Exception, look: str) -> NoReturn:
    """Raise what the app is to see of an attempt that failed.

    Args:
        shard: its name.
        address: of the instance that was asked; None if no master is known.
        error: of the attempt.
        look: of `MasterLocator.advice`.

    Raises:
        redis.ResponseError: the reply to the handshake, such as of SELECT; or the master lacks
            replicas for a write.
        LoginRefusedError: the master refuses the login.
        FencedError: the client acts on too old a version of the pool.
        ShardUnavailableError, ShardTimeoutError: the shard does not serve.
    """
    if address is None:
        raise nobody_knows(shard, look)
    cause = error.__cause__ if isinstance(error, NotSentError) else error
    if isinstance(cause, redis.ResponseError) and (
        refused(cause) in (None, Failure.LACKS_REPLICAS)
    ):
        raise cause  # such as that to SELECT of a database that is not there, in the handshake
    if isinstance(cause, FencedOffError):
        raise fenced(shard, cause) from cause
    if isinstance(cause, redis.AuthenticationError):
        raise login_refused(shard, address, cause) from cause
    reason = cause if isinstance(cause, Exception) else error
    raise not_serving(shard, address, reason, look) from reason
