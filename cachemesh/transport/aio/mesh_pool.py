"""What ``connection_pool`` of a CacheMesh is: its shards' pools, seen as one of redis-py's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from redis.asyncio.connection import ConnectionPool

from cachemesh.transport.aio.shard import ShardClient
from cachemesh.transport.fence_check import VersionedClient
from cachemesh.transport.mesh_pools import held_weakly, only_shard, owner_of


class PoolSource(Protocol):
    """What a pool needs of a client's core.

    Attributes:
        client_id: returns the id of now for the names of connections; does not hold the core.
    """

    client_id: Callable[[], str | None]

    @property
    def membership(self) -> VersionedClient:
        """What tells the version that the client acts on; does not hold the core."""

    def shards(self) -> Mapping[str, ShardClient]:
        """Return the shards by name, as far as loaded."""

    async def loaded_shards(self) -> Mapping[str, ShardClient]:
        """Return the shards by name; load the topology if this is the first use."""


class MeshPool(ConnectionPool):
    """The connection options of a CacheMesh, and redis-py's calls on a pool passed on to shards.

    A pool of one shard gives out connections as redis-py's own does. With several shards a
    connection to "the" server has no meaning and is refused.

    Args:
        made: the pool that ``redis.Redis.__init__`` made.
        core: of the client, which holds this pool, and is held weakly.
    """

    def __init__(self, made: ConnectionPool, core: PoolSource) -> None:
        self.client_id = core.client_id
        self.versioned = core.membership
        self._known, self._load = held_weakly(core.shards), held_weakly(core.loaded_shards)
        super().__init__(
            connection_class=made.connection_class,
            max_connections=made.max_connections,
            **made.connection_kwargs,
        )

    def __repr__(self) -> str:
        return "<cachemesh pool>"

    async def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Return a connection to the master of the only shard.

        Raises:
            cachemesh.UnsupportedCommandError: there are several shards.
            cachemesh.ShardUnavailableError: the master does not answer.
        """
        return await only_shard(await self._load()).pool.get_connection()

    async def release(self, connection: Any) -> None:
        """Take a connection back into the pool it is from."""
        owner = owner_of((shard.pool for shard in self._known().values()), connection)
        if owner is None:
            await connection.disconnect()  # its shard has left the pool
        else:
            await owner.release(connection)

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close all connections to all shards; the next command makes new ones."""
        for shard in self._known().values():
            shard.drop_connections()
            await shard.pool.disconnect(inuse_connections)

    async def aclose(self) -> None:
        """As `disconnect`."""
        await self.disconnect()

    @property
    def _available_connections(self) -> list[Any]:  # redis-py's metrics count these
        return [c for s in self._known().values() for c in s.pool._available_connections]

    @_available_connections.setter
    def _available_connections(self, value: object) -> None:
        """Ignore what redis-py's constructor sets."""

    @property
    def _in_use_connections(self) -> set[Any]:
        return {c for s in self._known().values() for c in s.pool._in_use_connections}

    @_in_use_connections.setter
    def _in_use_connections(self, value: object) -> None:
        """Ignore what redis-py's constructor sets."""
