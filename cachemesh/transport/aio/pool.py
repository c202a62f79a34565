"""redis-py connections to one shard's master, for what holds a connection: WATCH and pub/sub."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import redis
from redis.asyncio.connection import ConnectionPool

from cachemesh.core.names import Address
from cachemesh.core.resilience.error_classification import FencedOffError
from cachemesh.core.resilience.retry import Timeouts
from cachemesh.transport import redis_py
from cachemesh.transport.aio import handshake
from cachemesh.transport.name_resolution import resolving
from cachemesh.transport.unavailable import fenced, login_refused, nobody_knows, not_serving


class ShardPool(ConnectionPool):
    """A redis-py pool whose connections go to the shard's master of now, with ``ROLE`` checked.

    Args:
        shard: its name.
        template: a pool with the connection options.
        timeouts: returns the timeouts of now.
        locate: returns the master's address; given the error of an attempt to connect there, looks
            for another master before.
        look: of `MasterLocator.advice`.
    """

    def __init__(
        self,
        shard: str,
        template: ConnectionPool,
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
            **handshake.pool_options(template),
        )

    def serve(self, shard: Any) -> None:
        """Go on for a shard that has taken the place of the former one."""
        self._timeouts, self._locate = shard.timeouts_now, shard.where

    def __repr__(self) -> str:
        return f"<ShardPool {self._shard}>"

    async def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Return a connection to the master.

        Raises:
            ShardUnavailableError: the master does not answer.
            FencedError: it refuses the client, which acts on too old a version of the pool.
        """
        address: Address | None = await self._locate(None)
        take: Any = super().get_connection  # untyped in redis-py
        for last_try in (False, True):
            if address is None:
                raise nobody_knows(self._shard, self._look)
            await self._point_to(address)
            try:
                connection = await take(*args, **kwargs)
                if not redis_py.is_ready(connection, address):  # closed while it was idle
                    await connection.disconnect()
                    await connection.connect()
                return connection
            except redis_py.NOT_CONNECTED as error:
                if isinstance(error, redis.AuthenticationError):
                    raise login_refused(self._shard, address, error) from error
                if isinstance(error, FencedOffError):
                    raise fenced(self._shard, error) from error
                found = await self._locate(error)
                if last_try or found is None or found == address:
                    raise not_serving(self._shard, address, error, self._look) from error
                address = found
        raise AssertionError("unreachable")

    async def _point_to(self, address: Address) -> None:
        wanted = redis_py.destination(address, self._timeouts())
        if not wanted.items() <= self.connection_kwargs.items():
            self.connection_kwargs.update(wanted)
            reset: Any = self.reset  # untyped in redis-py
            await self.disconnect(inuse_connections=False)
            reset()  # redis-py's idle connections would go back to the old address

    async def disconnect_idle(self) -> None:
        """Close the connections that nobody uses."""
        if True:  # asyncio
            # Forgotten before: closing takes turns of the event loop, and none is to be got then.
            idle, self._available_connections = self._available_connections, []
            for connection in idle:
                await connection.disconnect()
        # sync: self.disconnect(inuse_connections=False)

    async def release(self, connection: Any) -> None:
        """Take a connection back; one from before a change of the master is closed."""
        if connection not in self._in_use_connections:
            await connection.disconnect()
            return
        connection.deadline = math.inf  # of `in_all`; the next to take the connection has its own
        take_back: Any = super().release  # untyped in redis-py
        await take_back(connection)
        kwargs = self.connection_kwargs
        if (connection.host, connection.port) != (kwargs.get("host"), kwargs.get("port")):
            await connection.disconnect()
