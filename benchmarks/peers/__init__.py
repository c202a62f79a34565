"""Who is measured: each peer connects to the servers that `benchmarks.servers` started."""

from __future__ import annotations

from benchmarks.peers.base import Connect, Peer
from benchmarks.peers.mesh import CacheMeshPeer
from benchmarks.peers.raw import RawPeer
from benchmarks.peers.redis_py import RedisPyPeer

BASELINE = "redis-py"
FLOOR = "raw"
"""No peer can be faster at one command a call; one that seems to be shows a fault of the run."""

PEERS: dict[str, Connect] = {
    FLOOR: RawPeer,
    BASELINE: RedisPyPeer,
    "cachemesh": CacheMeshPeer,
}

__all__ = ["BASELINE", "FLOOR", "PEERS", "Connect", "Peer"]
