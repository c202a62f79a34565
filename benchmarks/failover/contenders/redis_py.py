"""redis-py's Sentinel clients: one master_for a shard; which one a key is on, CacheMesh says."""

from __future__ import annotations

from typing import Any

import redis
from redis.asyncio.sentinel import Sentinel as AsyncioSentinel
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel as BlockingSentinel

from benchmarks.failover.contenders.base import AsyncClient, AsyncContender, Client, Contender
from benchmarks.failover.site import Site
from cachemesh.core.names import parse_address

Sentinel: Any = BlockingSentinel  # untyped in redis-py
AsyncSentinel: Any = AsyncioSentinel
_RETRY_EVERY, _RETRIES = 0.02, 250


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

    def connect(self, site: Site, **options: Any) -> Client:
        return _Masters(Sentinel(site.sentinel_addresses, **_of_sentinel(options)), site, options)


class RedisPyRetrying(Contender):
    """The same told to try again when a master turned out to be none.

    Its Sentinel client turns READONLY into a ConnectionError, so that is what it retries.
    """

    name = "redis-py-retrying"
    ours = False

    def connect(self, site: Site, **options: Any) -> Client:
        retry = Retry(
            ConstantBackoff(_RETRY_EVERY),
            _RETRIES,
            supported_errors=(redis.ReadOnlyError, redis.ConnectionError),
        )
        sentinel = Sentinel(site.sentinel_addresses, **_of_sentinel(options))
        return _Masters(sentinel, site, {**options, "retry": retry})


class RedisPyDirect(Contender):
    """`redis.Redis` on the masters of the beginning, as it is: it follows nothing."""

    name = "redis-py-direct"
    ours = False

    def connect(self, site: Site, **options: Any) -> Client:
        return _Direct(site, options)


class AsyncRedisPy(AsyncContender):
    """`redis.asyncio.sentinel.Sentinel.master_for`, as it is."""

    name = "redis-py-asyncio"
    ours = False

    async def connect(self, site: Site, **options: Any) -> AsyncClient:
        sentinel = AsyncSentinel(site.sentinel_addresses, **_of_sentinel(options))
        return _AsyncMasters(sentinel, site, options)


def _of_sentinel(options: dict[str, Any]) -> dict[str, Any]:
    """Takes out what is for the Sentinels, as redis-py wants it."""
    kwargs = options.pop("sentinel_kwargs", None)
    return {} if kwargs is None else {"sentinel_kwargs": kwargs}
