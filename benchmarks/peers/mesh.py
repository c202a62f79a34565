"""CacheMesh over a pool of shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from benchmarks.servers import Servers
from cachemesh import CacheMesh


class CacheMeshPeer:
    """``CacheMesh`` with its default options; its topology comes from the metaserver."""

    def __init__(self, servers: Servers) -> None:
        self._client = CacheMesh.from_url(servers.pool_url, token_file=servers.token_file)

    def load(self, items: Mapping[str, bytes]) -> None:
        for key, value in items.items():
            self._client.set(key, value)

    def get(self, key: str) -> bytes | None:
        return cast("bytes | None", self._client.get(key))

    def mget(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        return cast("list[bytes | None]", self._client.mget(keys))

    def close(self) -> None:
        self._client.close()
