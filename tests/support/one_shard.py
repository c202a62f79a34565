"""A pool of one shard, and clients of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cachemesh
import cachemesh.asyncio
from cachemesh import CacheMesh
from cachemesh.local import LocalStack
from tests.support.sentinels import keep_masters


@contextmanager
def one_shard_stack() -> Iterator[LocalStack]:
    """Run a pool of one shard with one replica; no slowness has its master replaced."""
    with LocalStack(
        shards=1, replicas=1, sentinels=1, metaservers=0, dashboard=False, down_after_ms=500
    ) as running:
        keep_masters(running)
        yield running


@contextmanager
def emptied(stack: LocalStack) -> Iterator[CacheMesh]:
    """Return a client of a pool, without keys."""
    with CacheMesh.from_url(stack.info["url"]) as mesh:
        mesh.flushall()
        yield mesh


def run(stack: LocalStack, body: Callable[[cachemesh.asyncio.CacheMesh], Awaitable[Any]]) -> Any:
    """Run a test's body with an asyncio client of an empty pool."""

    async def main() -> Any:
        mesh = cachemesh.asyncio.CacheMesh.from_url(stack.info["url"])
        try:
            await mesh.flushall()
            return await body(mesh)
        finally:
            await mesh.aclose()

    return asyncio.run(main())
