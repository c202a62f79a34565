"""CacheMesh as a peer, sync and asyncio; its topology comes from a metaserver."""

from __future__ import annotations

import cachemesh
import cachemesh.asyncio
from benchmarks.peers import redis_py, redis_py_asyncio
from benchmarks.peers.base import RESP, PeerClient
from benchmarks.servers import Servers


def over(shards: int, servers: Servers) -> PeerClient:
    """Connect ``CacheMesh``, with its default options, to a pool."""
    pool = servers.pool(shards)
    made = cachemesh.CacheMesh.from_url(pool.url, token_file=pool.token_file, protocol=RESP)
    return redis_py.client_of(made)


async def over_asyncio(shards: int, servers: Servers) -> PeerClient:
    """Connect ``cachemesh.asyncio.CacheMesh``, with its default options, to a pool."""
    pool = servers.pool(shards)
    made = cachemesh.asyncio.CacheMesh.from_url(pool.url, token_file=pool.token_file, protocol=RESP)
    return redis_py_asyncio.client_of(made)
