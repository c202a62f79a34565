"""Commands to several shards at once, over the asyncio transport."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any

import redis

from cachemesh.core.commands.encoding import require_encodable
from cachemesh.core.errors import ShardUnavailableError
from cachemesh.transport.aio.shard import ShardClient
from cachemesh.transport.part import Part


async def gather(
    requests: Sequence[tuple[ShardClient, tuple[Any, ...]]],
    read_only: bool,
    decode: bool = True,
    keep_errors: bool = False,
    retry_writes: bool = False,
) -> list[Any]:
    """Send one command to each of several shards, all in flight at once.

    Args:
        requests: each with the shard it is for.
        read_only: the command changes nothing.
        keep_errors: error replies, and shards that gave none, stand in the list as exceptions.
        retry_writes: a command that may have run is sent again though it writes.

    Returns:
        The replies in order of ``requests``.

    Raises:
        The first failure, in order of ``requests``, after all replies have been taken in.
    """
    if not read_only:
        for _, args in requests:  # before any of it is sent: an argument may have no form
            require_encodable(args)
    retriable = read_only or retry_writes
    sent = [shard.execute(args, retriable, decode) for shard, args in requests]
    return await in_order(sent, redis.RedisError if keep_errors else ())


async def send_parts(
    parts: Sequence[tuple[ShardClient, Part]], lazily: bool
) -> list[list[Any] | ShardUnavailableError]:
    """Send the parts of a pipeline, all in flight at once, and what has not run again.

    Args:
        parts: each with the shard it is for.
        lazily: not used; all parts are packed before any is sent.

    Returns:
        For each part its replies, error replies among them, or why the shard gave none.
    """
    packed = [part.payload() for _, part in parts]
    sent = [
        shard.send_part(part, payload) for (shard, part), payload in zip(parts, packed, strict=True)
    ]
    return await in_order(sent, ShardUnavailableError)


async def in_order(
    sent: Iterable[Awaitable[Any]], kept: type[Exception] | tuple[()] = ()
) -> list[Any]:
    """Return what all of these return, in order.

    Args:
        sent: begun at once.
        kept: exceptions that may stand among the replies.

    Raises:
        The first other exception in order of ``sent``, after all of these are done.
    """
    replies: list[Any] = await asyncio.gather(*sent, return_exceptions=True)
    for reply in replies:
        if isinstance(reply, BaseException) and not isinstance(reply, kept):
            raise reply
    return replies
