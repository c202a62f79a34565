"""coredis, an asyncio client, as a peer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from benchmarks.peers.base import PeerClient, package
from benchmarks.servers import Servers


async def direct(servers: Servers) -> PeerClient:
    """``coredis.Redis`` on one server."""
    coredis = package("coredis", "coredis")
    host, port = servers.single
    return await _opened(coredis.Redis(host=host, port=port))


async def _opened(made: Any) -> PeerClient:
    """Enter the client, a context manager that the same task must leave, in a task of its own."""
    opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    leave = asyncio.Event()

    async def hold() -> None:
        async with made:
            opened.set_result(None)
            await leave.wait()

    holder = asyncio.ensure_future(hold())

    async def pipeline(keys: Sequence[str]) -> list[Any]:
        async with made.pipeline(transaction=False) as queued:
            replies = [queued.get(key) for key in keys]
        return [await reply for reply in replies]

    async def close() -> None:
        leave.set()
        await holder

    await asyncio.wait([opened, holder], return_when=asyncio.FIRST_COMPLETED)
    if holder.done():
        holder.result()  # why it did not open
    return PeerClient(made.get, made.set, made.mget, pipeline, close)
