"""redis-py's Sentinel clients as contenders: one ``master_for`` per shard."""

from __future__ import annotations

import time
from typing import Any

import redis
from redis.asyncio.sentinel import Sentinel as AsyncioSentinel
from redis.sentinel import Sentinel as BlockingSentinel

from benchmarks.failover.contenders.base import (
    AsyncContender,
    AsyncContenderClient,
    Contender,
    ContenderClient,
)
from benchmarks.failover.site import Site
from cachemesh.core.names import parse_address

Sentinel: Any = BlockingSentinel  # untyped in redis-py
AsyncSentinel: Any = AsyncioSentinel
_RETRY_EVERY, _RETRY_FOR = 0.02, 10.0  # seconds
_DEMOTED = "previous master is now a slave"  # redis-py on READONLY


class _Masters:
    def __init__(self, sentinel: Any, site: Site, options: dict[str, Any]) -> None:
        self.sentinel = sentinel
        self.masters: dict[str, Any] = {
            shard: sentinel.master_for(shard, **options) for shard in site.shards
        }

    def call(self, shard: str, *words: str) -> Any:
        return self.masters[shard].execute_command(*words)

    def close(self) -> None:
        for master in self.masters.values():
            master.close()
        self.sentinel.close()


class _Retrying(_Masters):
    def call(self, shard: str, *words: str) -> Any:
        end = time.monotonic() + _RETRY_FOR
        while True:
            try:
                return super().call(shard, *words)
            except redis.ConnectionError as error:
                if _DEMOTED not in str(error) or time.monotonic() > end:
                    raise
            time.sleep(_RETRY_EVERY)


class _Direct:
    def __init__(self, site: Site, options: dict[str, Any]) -> None:
        self.masters: dict[str, Any] = {}
        for shard in site.shards:
            host, port = parse_address(site.stack.master_of(shard))
            self.masters[shard] = redis.Redis(host=host, port=port, **options)

    def call(self, shard: str, *words: str) -> Any:
        return self.masters[shard].execute_command(*words)

    def close(self) -> None:
        for master in self.masters.values():
            master.close()


class _AsyncMasters:
    def __init__(self, sentinel: Any, site: Site, options: dict[str, Any]) -> None:
        self.sentinel = sentinel
        self.masters: dict[str, Any] = {
            shard: sentinel.master_for(shard, **options) for shard in site.shards
        }

    async def call(self, shard: str, *words: str) -> Any:
        return await self.masters[shard].execute_command(*words)

    async def close(self) -> None:
        for master in self.masters.values():
            await master.aclose()
        for sentinel in self.sentinel.sentinels:
            await sentinel.aclose()


class RedisPy(Contender):
    """`redis.sentinel.Sentinel.master_for`, as it is."""

    name = "redis-py"
    ours = False

    def connect(self, site: Site, **options: Any) -> ContenderClient:
        return _Masters(Sentinel(site.sentinel_addresses, **_of_sentinel(options)), site, options)


class RedisPyRetrying(Contender):
    """`RedisPy` in an app that repeats a call when the master has been demoted.

    The Sentinel client turns READONLY into a ConnectionError. redis-py's own ``retry`` does not
    help: it repeats on the same connection, which asks Sentinel only when the pool gives it out.
    """

    name = "redis-py-retrying"
    ours = False

    def connect(self, site: Site, **options: Any) -> ContenderClient:
        sentinel = Sentinel(site.sentinel_addresses, **_of_sentinel(options))
        return _Retrying(sentinel, site, options)


class RedisPyDirect(Contender):
    """`redis.Redis` on the masters of the beginning, as it is; it follows no failover."""

    name = "redis-py-direct"
    ours = False

    def connect(self, site: Site, **options: Any) -> ContenderClient:
        return _Direct(site, options)


class AsyncRedisPy(AsyncContender):
    """`redis.asyncio.sentinel.Sentinel.master_for`, as it is."""

    name = "redis-py-asyncio"
    ours = False

    async def connect(self, site: Site, **options: Any) -> AsyncContenderClient:
        sentinel = AsyncSentinel(site.sentinel_addresses, **_of_sentinel(options))
        return _AsyncMasters(sentinel, site, options)


def _of_sentinel(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options for Sentinels out of ``options`` and return them as redis-py takes them."""
    kwargs = options.pop("sentinel_kwargs", None)
    return {} if kwargs is None else {"sentinel_kwargs": kwargs}
