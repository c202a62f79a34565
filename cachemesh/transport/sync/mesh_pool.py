"""What ``connection_pool`` of a CacheMesh is: its shards' pools, seen as one of redis-py's."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from redis.asyncio.connection import ConnectionPool as AsyncConnectionPool
from redis.connection import ConnectionPool

from cachemesh.core.errors import UnsupportedCommandError
from cachemesh.transport.aio import shard as aio_shard
from cachemesh.transport.sync import shard

T = TypeVar("T")


class MeshPool(ConnectionPool):
    """The connection options of a CacheMesh, and redis-py's calls on a pool passed on to shards.

    A pool of one shard gives out connections as redis-py's own does. With several shards a
    connection to "the" server has no meaning and is refused.

    Args:
        made: the pool that ``redis.Redis.__init__`` made.
        known: method of the client: shard name -> node, as far as loaded.
        load: as ``known``; loads the topology if this is the first use.
    """

    def __init__(
        self,
        made: ConnectionPool,
        known: Callable[[], Mapping[str, shard.ShardClient]],
        load: Callable[[], Mapping[str, shard.ShardClient]],
    ) -> None:
        self._known, self._load = _held_weakly(known), _held_weakly(load)
        super().__init__(
            connection_class=made.connection_class,
            max_connections=made.max_connections,
            **made.connection_kwargs,
        )

    def __repr__(self) -> str:
        return "<cachemesh pool>"

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """A connection to the master of the only shard.

        Raises:
            cachemesh.UnsupportedCommandError: there are several shards.
            cachemesh.ShardUnavailableError: the master does not answer.
        """
        return _only(self._load()).pool.get_connection()

    def release(self, connection: Any) -> None:
        """Take a connection back into the pool it is from."""
        owner = _owner((node.pool for node in self._known().values()), connection)
        if owner is None:
            connection.disconnect()  # its shard has left the pool
        else:
            owner.release(connection)

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close all connections to all shards; the next command makes new ones."""
        for node in self._known().values():
            node.drop_links()
            if inuse_connections:
                node.pool.disconnect()

    def close(self) -> None:
        """As `disconnect`."""
        self.disconnect()

    @property
    def _available_connections(self) -> list[Any]:  # redis-py's metrics count these
        return [c for n in self._known().values() for c in n.pool._available_connections]

    @_available_connections.setter
    def _available_connections(self, value: object) -> None:
        """redis-py's constructor sets it."""

    @property
    def _in_use_connections(self) -> set[Any]:
        return {c for n in self._known().values() for c in n.pool._in_use_connections}

    @_in_use_connections.setter
    def _in_use_connections(self, value: object) -> None:
        """redis-py's constructor sets it."""


class AsyncMeshPool(AsyncConnectionPool):
    """As `MeshPool`, for asyncio."""

    def __init__(
        self,
        made: AsyncConnectionPool,
        known: Callable[[], Mapping[str, aio_shard.ShardClient]],
        load: Callable[[], Awaitable[Mapping[str, aio_shard.ShardClient]]],
    ) -> None:
        self._known, self._load = _held_weakly(known), _held_weakly(load)
        super().__init__(
            connection_class=made.connection_class,
            max_connections=made.max_connections,
            **made.connection_kwargs,
        )

    def __repr__(self) -> str:
        return "<cachemesh pool>"

    async def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """A connection to the master of the only shard. Raises as `MeshPool.get_connection`."""
        return await _only(await self._load()).pool.get_connection()

    async def release(self, connection: Any) -> None:
        """Take a connection back into the pool it is from."""
        owner = _owner((node.pool for node in self._known().values()), connection)
        if owner is None:
            await connection.disconnect()  # its shard has left the pool
        else:
            await owner.release(connection)

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close all connections to all shards; the next command makes new ones."""
        for node in self._known().values():
            node.drop_links()
            await node.pool.disconnect(inuse_connections)

    async def aclose(self) -> None:
        """As `disconnect`."""
        await self.disconnect()

    @property
    def _available_connections(self) -> list[Any]:  # redis-py's metrics count these
        return [c for n in self._known().values() for c in n.pool._available_connections]

    @_available_connections.setter
    def _available_connections(self, value: object) -> None:
        """redis-py's constructor sets it."""

    @property
    def _in_use_connections(self) -> set[Any]:
        return {c for n in self._known().values() for c in n.pool._in_use_connections}

    @_in_use_connections.setter
    def _in_use_connections(self, value: object) -> None:
        """redis-py's constructor sets it."""


def _held_weakly(method: Callable[[], T]) -> Callable[[], T]:
    """The client holds the pool; a cycle would keep both until garbage is collected."""
    weak = weakref.WeakMethod(method)

    def call() -> T:
        alive = weak()
        if alive is None:
            raise ReferenceError("The CacheMesh of this connection pool is gone")
        return alive()

    return call


def _only(nodes: Mapping[str, Any]) -> Any:
    if len(nodes) != 1:
        raise UnsupportedCommandError(
            f"This call needs a connection to one server, and the pool has {len(nodes)} shards; "
            "use a command with a key, or redis-py on one instance"
        )
    return next(iter(nodes.values()))


def _owner(pools: Iterable[Any], connection: Any) -> Any:
    return next((pool for pool in pools if connection in pool._in_use_connections), None)
