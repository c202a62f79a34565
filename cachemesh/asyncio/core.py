"""The core of a client for asyncio: how routes are loaded in a loop, and what closing does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from cachemesh._client.core import MeshCore
from cachemesh.core.errors import ConfigurationError
from cachemesh.core.placement.route_table import Routes
from cachemesh.core.pool.topology import Topology
from cachemesh.discovery.url import MeshUrl
from cachemesh.transport.aio.instance import seen
from cachemesh.transport.aio.shard import ShardClient


class Core(MeshCore[ShardClient]):
    """The core of a `cachemesh.asyncio.CacheMesh`; lives in one event loop after the other.

    Attributes:
        loop: the event loop that all connections live in; None while there are none.
    """

    def __init__(self, url: MeshUrl, parent: Core | None) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._loading: asyncio.Task[Topology] | None = None
        super().__init__(url, parent)

    def make_shard(self, name: str) -> ShardClient:
        """Return a client of the shard; nothing is connected yet."""
        assert self.loop is not None  # set before anything is loaded
        return ShardClient(name, self.pool, self.membership, self.loop)

    def topology(self) -> Topology:
        """Return the topology of now.

        Raises:
            ConfigurationError: none is loaded yet; that takes an event loop.
        """
        topology = self.latest_topology
        if topology is None:
            raise ConfigurationError("No topology is loaded yet; await client.load() first")
        return topology

    async def load(self) -> Topology:
        """Return the topology of now; the first call in an event loop loads it.

        Tasks that ask meanwhile share one attempt.

        Raises:
            ConfigurationError: the client is in use in another event loop.
            CacheMeshError, redis.ConnectionError: the topology cannot be loaded.
        """
        loop = asyncio.get_running_loop()
        loading = self._loading
        if loading is None or loading.done() or loading.get_loop() is not loop:
            loading = self._loading = loop.create_task(self._load(loop))
            loading.add_done_callback(seen)
        return await asyncio.shield(loading)

    async def _load(self, loop: asyncio.AbstractEventLoop) -> Topology:
        def begin(topology: Topology) -> None:
            former = self.loop
            if former is not loop:
                if former is not None and former.is_running() and self.routes is not None:
                    raise ConfigurationError(
                        "This client is in use in another event loop, which is running; make a "
                        "client for each loop, or close it there first"
                    )
                self._abandon()
                self.loop = loop
            self.apply(topology)

        return await loop.run_in_executor(None, self.membership.tell, begin)

    async def loaded(self) -> Routes[ShardClient]:
        """Return the route table; loads the topology if this is the first use in this loop."""
        while True:
            routes = self.routes  # before the loop, set after it
            if routes is not None and self.loop is asyncio.get_running_loop():
                return routes
            await self.load()

    async def loaded_shards(self) -> Mapping[str, ShardClient]:
        """Return the shards of `loaded`, by name."""
        return (await self.loaded()).nodes

    async def close(self) -> None:
        """Close all connections and follow the pool no more. A later use starts again."""
        loop = asyncio.get_running_loop()
        connection, self.connection = self.connection, None
        if connection is not None:
            await self.pool.release(connection)
        self.stop_measuring()
        if self._parent is None:
            await loop.run_in_executor(None, self.leave_pool)
        if self.loop is not loop:
            self._abandon()
        self.closings += 1
        for shard in self.without_routes().values():
            await shard.close()
        self.loop = None

    def _abandon(self) -> None:
        """Let go of the connections, whose event loop may be another, or closed."""
        for shard in self.without_routes().values():
            shard.abandon()

    def after_fork(self) -> None:
        """In the child: leave connections, threads and the event loop to the parent."""
        super().after_fork()
        self.loop = None

    def __del__(self) -> None:
        if hasattr(self, "plain"):  # else the constructor failed
            self.leave_pool(at_once=False)
            self._abandon()
