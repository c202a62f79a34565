"""CacheMesh for asyncio: a drop-in for `redis.asyncio.Redis`."""

from cachemesh.asyncio.client import CacheMesh

__all__ = ["CacheMesh"]
