"""redis-py against one server: what an app has before it needs shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import redis

from benchmarks.servers import Servers


class RedisPyPeer:
    """``redis.Redis`` with its default options."""

    def __init__(self, servers: Servers) -> None:
        host, port = servers.single
        self._client = redis.Redis(host=host, port=port)

    def load(self, items: Mapping[str, bytes]) -> None:
        for key, value in items.items():
            self._client.set(key, value)

    def get(self, key: str) -> bytes | None:
        return cast("bytes | None", self._client.get(key))

    def mget(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        return cast("list[bytes | None]", self._client.mget(keys))

    def close(self) -> None:
        self._client.close()
