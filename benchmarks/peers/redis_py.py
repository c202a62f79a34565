"""redis-py as a peer: on one server, on a Redis Cluster, and through a proxy."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any

import redis
from redis._parsers import Encoder, _RESP3Parser
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import PythonRespSerializer

from benchmarks.peers.base import RESP, PeerClient
from benchmarks.servers import Servers

_CUTOFF = 6000  # bytes from which it no longer joins what it sends; its own default


def direct(servers: Servers) -> PeerClient:
    """Connect ``redis.Redis`` to one server, as an app has it that needs no shards."""
    host, port = servers.single
    return client_of(redis.Redis(host=host, port=port, protocol=RESP))


def without_hiredis(servers: Servers) -> PeerClient:
    """Connect redis-py without hiredis, which parses replies and packs commands in Python."""
    host, port = servers.single
    encoder: Any = Encoder  # untyped in redis-py
    packer = PythonRespSerializer(_CUTOFF, encoder("utf-8", "strict", False).encode)
    options: Any = {"parser_class": _RESP3Parser, "command_packer": packer}
    pool = redis.ConnectionPool(host=host, port=port, protocol=RESP, **options)
    return client_of(redis.Redis(connection_pool=pool))


def cluster(servers: Servers) -> PeerClient:
    """Connect ``RedisCluster``, which splits an MGET only in ``mget_nonatomic``."""
    node: Any = ClusterNode  # untyped in redis-py
    nodes = [node(host, port) for host, port in servers.cluster]
    made = RedisCluster(startup_nodes=nodes, protocol=RESP)
    return PeerClient(
        made.get, made.set, made.mget_nonatomic, partial(_gets_pipelined, made), made.close
    )


def proxied(servers: Servers) -> PeerClient:
    """Connect through nutcracker, which knows only RESP2, and no CLIENT SETINFO."""
    host, port = servers.proxy
    names = ("driver_info", "lib_name", "lib_version")
    known = inspect.signature(redis.Redis.__init__).parameters
    # redis-py 8 warns about the older two.
    silent: Any = dict.fromkeys(names[:1] if names[0] in known else names[1:])
    return client_of(redis.Redis(host=host, port=port, protocol=2, **silent))


def client_of(made: redis.Redis) -> PeerClient:
    """Make a `PeerClient` of an object that has redis-py's methods."""
    return PeerClient(made.get, made.set, made.mget, partial(_gets_pipelined, made), made.close)


def _gets_pipelined(made: Any, keys: Sequence[str]) -> Any:
    pipeline = made.pipeline(transaction=False)
    for key in keys:
        pipeline.get(key)
    return pipeline.execute()
