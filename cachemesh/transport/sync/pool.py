"""redis-py connections to one shard's master, for what holds a connection: WATCH and pub/sub."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import redis
from redis.asyncio.connection import ConnectionPool as AsyncConnectionPool
from redis.connection import ConnectionPool

from cachemesh.core.errors import (
    LoginRefusedError,
    ShardTimeoutError,
    ShardUnavailableError,
)
from cachemesh.core.names import Address
from cachemesh.core.resilience.retry import Timeouts, refused
from cachemesh.transport import redis_py
from cachemesh.transport.failures import NotSentError
from cachemesh.transport.name_resolution import resolving

TIMEOUTS = (TimeoutError, asyncio.TimeoutError, redis.TimeoutError)
"""The second is another one before Python 3.11."""


class ShardPool(ConnectionPool):
    """A redis-py pool whose connections go to whoever is master of the shard, ``ROLE`` checked.

    Args:
        shard: its name.
        template: connection options.
        timeouts: how long to wait now.
        locate: the master's address; finds another one when told why it could not be connected to.
        look: of `Locator.how_to_look`.
    """

    def __init__(
        self,
        shard: str,
        template: ConnectionPool,
        timeouts: Callable[[], Timeouts],
        locate: Callable[[Exception | None], Address | None],
        look: str,
    ) -> None:
        self._shard = shard
        self._look = look
        self._timeouts = timeouts
        self._locate = locate
        super().__init__(
            connection_class=resolving(template.connection_class),
            max_connections=template.max_connections,
            **redis_py.pool_options(template),
        )

    def __repr__(self) -> str:
        return f"<ShardPool {self._shard}>"

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """A connection to the master.

        Raises:
            ShardUnavailableError: it does not answer.
        """
        address = self._locate(None)
        for last_try in (False, True):
            self._point_to(address)
            try:
                return super().get_connection(*args, **kwargs)
            except redis_py.NOT_CONNECTED as error:
                if isinstance(error, redis.AuthenticationError):
                    raise login_refused(self._shard, address, error) from error
                found = self._locate(error)
                if last_try or found is None or found == address:
                    raise not_serving(self._shard, address, error, self._look) from error
                address = found
        raise AssertionError("unreachable")

    def _point_to(self, address: Address | None) -> None:
        if address is None:
            raise nobody_knows(self._shard, self._look)
        wanted = _where_and_how(address, self._timeouts())
        if not wanted.items() <= self.connection_kwargs.items():
            self.connection_kwargs.update(wanted)
            self.disconnect(inuse_connections=False)
            self.reset()  # redis-py's idle connections would go back to the old address

    def release(self, connection: Any) -> None:
        """Take a connection back; one from before a change is closed."""
        if connection not in self._in_use_connections:
            connection.disconnect()
            return
        take_back: Any = super().release  # untyped in redis-py
        take_back(connection)
        kwargs = self.connection_kwargs
        if (connection.host, connection.port) != (kwargs.get("host"), kwargs.get("port")):
            connection.disconnect()


class AsyncShardPool(AsyncConnectionPool):
    """As `ShardPool`, for asyncio."""

    def __init__(
        self,
        shard: str,
        template: AsyncConnectionPool,
        timeouts: Callable[[], Timeouts],
        locate: Callable[[Exception | None], Awaitable[Address | None]],
        look: str,
    ) -> None:
        self._shard = shard
        self._look = look
        self._timeouts = timeouts
        self._locate = locate
        super().__init__(
            connection_class=resolving(template.connection_class),
            max_connections=template.max_connections,
            **redis_py.async_pool_options(template),
        )

    def __repr__(self) -> str:
        return f"<AsyncShardPool {self._shard}>"

    async def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """A connection to the master.

        Raises:
            ShardUnavailableError: it does not answer.
        """
        address: Address | None = await self._locate(None)
        take: Any = super().get_connection  # untyped in redis-py
        reset: Any = self.reset
        for last_try in (False, True):
            if address is None:
                raise nobody_knows(self._shard, self._look)
            wanted = _where_and_how(address, self._timeouts())
            if not wanted.items() <= self.connection_kwargs.items():
                self.connection_kwargs.update(wanted)
                await self.disconnect(inuse_connections=False)
                reset()
            try:
                connection = await take(*args, **kwargs)
                if not redis_py.is_ready_async(connection, address):  # closed while it was idle
                    await connection.disconnect()
                    await connection.connect()
                return connection
            except redis_py.NOT_CONNECTED as error:
                if isinstance(error, redis.AuthenticationError):
                    raise login_refused(self._shard, address, error) from error
                found = await self._locate(error)
                if last_try or found is None or found == address:
                    raise not_serving(self._shard, address, error, self._look) from error
                address = found
        raise AssertionError("unreachable")

    async def disconnect_idle(self) -> None:
        """Close the connections that nobody uses, and forget them before: closing takes turns of
        the event loop, and nobody is to get one meanwhile."""
        idle, self._available_connections = self._available_connections, []
        for connection in idle:
            await connection.disconnect()

    async def release(self, connection: Any) -> None:
        """Take a connection back; one from before a change is closed."""
        if connection not in self._in_use_connections:
            await connection.disconnect()
            return
        take_back: Any = super().release  # untyped in redis-py
        await take_back(connection)
        options = self.connection_kwargs
        if (connection.host, connection.port) != (options.get("host"), options.get("port")):
            await connection.disconnect()


def _where_and_how(address: Address, timeouts: Timeouts) -> dict[str, Any]:
    return {
        "host": address.host,
        "port": address.port,
        "socket_timeout": timeouts.reply,
        "socket_connect_timeout": timeouts.connecting(None),
    }


def nobody_knows(shard: str, look: str) -> ShardUnavailableError:
    """The error when no master is known; ``look`` is of `Locator.how_to_look`."""
    return ShardUnavailableError(f"Shard {shard!r}: no Sentinel knows its master; {look}")


def closed_meanwhile(shard: str) -> ShardUnavailableError:
    """The error of a command that was under way when its client was closed."""
    return ShardUnavailableError(
        f"Shard {shard!r}: the client was closed before the command was done; close it when no "
        "command is under way"
    )


def closed_while_listening() -> ShardUnavailableError:
    """The error of who waits for messages when the client is closed."""
    return ShardUnavailableError(
        "The client was closed while its subscriptions were listened to; close those first"
    )


def no_replica(shard: str, max_lag: float | None, error: Exception | None) -> ShardUnavailableError:
    """The error when no replica answers what is to be read from replicas alone."""
    bound = "" if max_lag is None else f", is at most {max_lag:g} s behind"
    last = "" if error is None else f"; the last one tried: {error}"
    return ShardUnavailableError(
        f"Shard {shard!r}: no replica is up{bound} and has this client's own writes{last}; "
        "read_from='prefer_replica' would read from the master then"
    )


def login_refused(shard: str, address: Address | None, error: Exception) -> LoginRefusedError:
    """The error when the master takes no commands from who we say we are."""
    return LoginRefusedError(
        f"Shard {shard!r} at {address} refuses the login: {error}; check the options username and "
        "password, or what credential_provider gives"
    )


def not_serving(
    shard: str, address: Address | None, error: Exception, look: str
) -> ShardUnavailableError:
    """The error when the master does not answer: tells an app why, and what to do.

    Args:
        look: of `Locator.how_to_look`.
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


def raise_unserved(shard: str, address: Address | None, error: Exception, look: str) -> NoReturn:
    """Raise what the app gets to see of an attempt that failed."""
    if address is None:
        raise nobody_knows(shard, look)
    cause = error.__cause__ if isinstance(error, NotSentError) else error
    if isinstance(cause, redis.ResponseError) and refused(cause) is None:
        raise cause  # of the handshake, such as SELECT of a database that is not there
    if isinstance(cause, redis.AuthenticationError):
        raise login_refused(shard, address, cause) from cause
    reason = cause if isinstance(cause, Exception) else error
    raise not_serving(shard, address, reason, look) from reason
