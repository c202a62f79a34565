"""Clients of a local stack that find their pool by its metaserver."""

from __future__ import annotations

from typing import Any

from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.local import LocalStack


def connect(stack: LocalStack, **options: Any) -> Any:
    """Return a sync client of the stack's pool."""
    return CacheMesh.from_url(stack.info["url"], token=stack.token, **options)


def connect_async(stack: LocalStack, **options: Any) -> Any:
    """Return an asyncio client of the stack's pool."""
    return AsyncCacheMesh.from_url(stack.info["url"], token=stack.token, **options)


def masters(stack: LocalStack) -> list[str]:
    """Return "host:port" of each shard's first master."""
    return [shard["master"] for shard in stack.info["shards"]]


def key_on(mesh: Any, shard: str) -> str:
    """Return a key that the shard owns."""
    return next(key for key in map("k{}".format, range(99)) if mesh.shard_for(key) == shard)
