"""valkey-glide as a peer; its Rust core runs threads of its own in the client's process."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from benchmarks.peers.base import PeerClient, package
from benchmarks.servers import Servers

_IN_FLIGHT = 4096  # it refuses beyond 1,000, and 1,024 tasks are measured
_TIMEOUT_MS = 10_000  # its 250 ms are too few where a machine is busy


def direct(servers: Servers) -> PeerClient:
    """Connect the blocking client to one server."""
    glide = package("glide_sync", "valkey-glide-sync")
    made = glide.GlideClient.create(_options(glide, "GlideClientConfiguration", [servers.single]))
    return _client(made, glide.Batch)


def cluster(servers: Servers) -> PeerClient:
    """Connect the blocking client to a Redis Cluster."""
    glide = package("glide_sync", "valkey-glide-sync")
    options = _options(glide, "GlideClusterClientConfiguration", servers.cluster)
    return _client(glide.GlideClusterClient.create(options), glide.ClusterBatch)


async def direct_asyncio(servers: Servers) -> PeerClient:
    """Connect the asyncio client to one server."""
    glide = package("glide", "valkey-glide")
    options = _options(glide, "GlideClientConfiguration", [servers.single])
    return _client(await glide.GlideClient.create(options), glide.Batch)


async def cluster_asyncio(servers: Servers) -> PeerClient:
    """Connect the asyncio client to a Redis Cluster."""
    glide = package("glide", "valkey-glide")
    options = _options(glide, "GlideClusterClientConfiguration", servers.cluster)
    return _client(await glide.GlideClusterClient.create(options), glide.ClusterBatch)


def _options(glide: Any, name: str, addresses: Sequence[tuple[str, int]]) -> Any:
    configuration = getattr(glide, name)
    more = {"request_timeout": _TIMEOUT_MS, "inflight_requests_limit": _IN_FLIGHT}
    known = inspect.signature(configuration).parameters
    return configuration(
        [glide.NodeAddress(*address) for address in addresses],
        **{option: value for option, value in more.items() if option in known},
    )


def _client(made: Any, batch_type: Any) -> PeerClient:
    def pipeline(keys: Sequence[str]) -> Any:
        batch = batch_type(is_atomic=False)
        for key in keys:
            batch.get(key)
        return made.exec(batch, raise_on_error=True)

    return PeerClient(made.get, made.set, made.mget, pipeline, made.close)
