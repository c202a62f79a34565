"""Commands to several shards at once, over the asyncio transport."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any


async def gather(
    sent: Iterable[Awaitable[Any]], kept: type[Exception] | tuple[()] = ()
) -> list[Any]:
    """Wait for the replies of several shards, and return them in order.

    Args:
        sent: what each shard is asked, as of `cachemesh.transport.aio.shard.ShardClient.execute`.
        kept: exceptions that may stand among the replies.

    Raises:
        The first other exception in order of ``sent``, after all replies have been taken in.
    """
    replies: list[Any] = await asyncio.gather(*sent, return_exceptions=True)
    for reply in replies:
        if isinstance(reply, BaseException) and not isinstance(reply, kept):
            raise reply
    return replies
