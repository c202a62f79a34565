"""The peers: clients that are measured against the servers of `benchmarks.servers`.

base                  what every peer has; `PEERS` below lists all peers
mesh                  CacheMesh
redis_py, redis_py_asyncio, glide, coredis   other clients
floor, floor_asyncio, packed   the floors: sockets and hiredis with requests packed in advance
"""

from __future__ import annotations

from functools import partial

from benchmarks.peers import (
    coredis,
    floor,
    floor_asyncio,
    glide,
    mesh,
    redis_py,
    redis_py_asyncio,
)
from benchmarks.peers.base import Peer, PeerClient, PeerMissingError

PEERS: dict[str, Peer] = {
    "floor": Peer("socket and hiredis, one server", floor.one_server),
    "floor-4": Peer("4 sockets and hiredis, 4 servers", floor.four_servers),
    "redis-py": Peer("one server", redis_py.direct),
    "redis-py-no-hiredis": Peer("one server", redis_py.without_hiredis),
    "redis-py-cluster": Peer("RedisCluster, 4 nodes", redis_py.cluster),
    "redis-py-nutcracker": Peer("redis-py, nutcracker, 4 servers", redis_py.proxied),
    "valkey-glide-sync": Peer("one server", glide.direct),
    "valkey-glide-sync-cluster": Peer("Redis Cluster, 4 nodes", glide.cluster),
    "cachemesh": Peer("a pool of 4 shards", partial(mesh.over, 4)),
    "cachemesh-1": Peer("a pool of 1 shard", partial(mesh.over, 1)),
    "cachemesh-16": Peer("a pool of 16 shards", partial(mesh.over, 16)),
    "floor-asyncio": Peer("one protocol, one server", floor_asyncio.one_server, True),
    "redis-py-asyncio": Peer("one server", redis_py_asyncio.direct, True),
    "redis-py-asyncio-cluster": Peer("RedisCluster, 4 nodes", redis_py_asyncio.cluster, True),
    "valkey-glide": Peer("one server", glide.direct_asyncio, True),
    "valkey-glide-cluster": Peer("Redis Cluster, 4 nodes", glide.cluster_asyncio, True),
    "coredis": Peer("one server", coredis.direct, True),
    "cachemesh-asyncio": Peer("a pool of 4 shards", partial(mesh.over_asyncio, 4), True),
    "cachemesh-asyncio-1": Peer("a pool of 1 shard", partial(mesh.over_asyncio, 1), True),
    "cachemesh-asyncio-16": Peer("a pool of 16 shards", partial(mesh.over_asyncio, 16), True),
}

__all__ = ["PEERS", "Peer", "PeerClient", "PeerMissingError"]
