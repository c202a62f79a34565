"""Who is measured: each peer connects to the servers that `benchmarks.servers` started."""

from __future__ import annotations

from benchmarks.peers.base import Connect, Peer
from benchmarks.peers.mesh import CacheMeshPeer
from benchmarks.peers.raw import RawPeer
from benchmarks.peers.redis_py import RedisPyPeer

BASELINE = "redis-py"

PEERS: dict[str, Connect] = {
    "raw": RawPeer,
    BASELINE: RedisPyPeer,
    "cachemesh": CacheMeshPeer,
}

__all__ = ["BASELINE", "PEERS", "Connect", "Peer"]
