"""redis-py's asyncio clients as peers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import redis.asyncio
from redis.asyncio.cluster import ClusterNode, RedisCluster

from benchmarks.peers.base import RESP, PeerClient
from benchmarks.servers import Servers

_CONNECTIONS = 4096  # it needs one for each task that waits, and refuses beyond its 100


async def direct(servers: Servers) -> PeerClient:
    """Connect ``redis.asyncio.Redis`` to one server."""
    host, port = servers.single
    return client_of(
        redis.asyncio.Redis(host=host, port=port, protocol=RESP, max_connections=_CONNECTIONS)
    )


async def cluster(servers: Servers) -> PeerClient:
    """Connect ``redis.asyncio.RedisCluster``."""
    nodes = [ClusterNode(host, port) for host, port in servers.cluster]
    made: Any = RedisCluster(startup_nodes=nodes, protocol=RESP, max_connections=_CONNECTIONS)
    await made.initialize()
    return PeerClient(
        made.get, made.set, made.mget_nonatomic, partial(_gets_pipelined, made), made.aclose
    )


def client_of(made: Any) -> PeerClient:
    """Make a `PeerClient` of an object that has the methods of redis-py's asyncio client."""
    return PeerClient(made.get, made.set, made.mget, partial(_gets_pipelined, made), made.aclose)


async def _gets_pipelined(made: Any, keys: Sequence[str]) -> Any:
    pipeline = made.pipeline(transaction=False)
    for key in keys:
        pipeline.get(key)
    return await pipeline.execute()
