"""The core of a client for threads: how routes are loaded, and what closing does."""

from __future__ import annotations

from collections.abc import Mapping

from cachemesh._client.core import MeshCore
from cachemesh.core.placement.route_table import Routes
from cachemesh.core.pool.topology import Topology
from cachemesh.transport.sync.shard import ShardClient


class Core(MeshCore[ShardClient]):
    """The core of a `cachemesh.CacheMesh`. Any thread."""

    def make_shard(self, name: str) -> ShardClient:
        """Return a client of the shard; nothing is connected yet."""
        return ShardClient(name, self.pool, self.membership)

    def topology(self) -> Topology:
        """Return the topology of now; the first call loads it.

        Raises:
            CacheMeshError, redis.ConnectionError: it cannot be loaded.
        """
        return self.membership.topology()

    def load(self) -> Topology:
        """As `topology`; shards are routed to by the time this returns."""
        return self.membership.tell(self.apply)

    def loaded(self) -> Routes[ShardClient]:
        """Return the route table; loads the topology if this is the first use."""
        while True:
            routes = self.routes
            if routes is not None:
                return routes
            self.load()

    def loaded_shards(self) -> Mapping[str, ShardClient]:
        """Return the shards of `loaded`, by name."""
        return self.loaded().nodes

    def close(self) -> None:
        """Close all connections and follow the pool no more. A later use starts again."""
        connection, self.connection = self.connection, None
        if connection is not None:
            self.pool.release(connection)
        self._close(at_once=True)

    def _close(self, at_once: bool) -> None:
        self.leave_pool(at_once)
        self.stop_measuring()
        self.closings += 1
        for shard in self.without_routes().values():
            shard.close()

    def __del__(self) -> None:
        if hasattr(self, "plain"):  # else the constructor failed
            self._close(at_once=False)
