"""Commands to several shards at once, over the asyncio transport: one coroutine for each shard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable
from typing import Any

import redis

from cachemesh.core.commands.encoding import require_encodable
from cachemesh.core.errors import ShardUnavailableError
from cachemesh.core.planning.pipeline_parts import Part
from cachemesh.core.reads.read_preference import Reading
from cachemesh.core.rerouting import PartlyRetiredError, ShardRetiredError
from cachemesh.core.resilience.error_classification import NOT_SERVED, NotSentError
from cachemesh.core.resilience.pipeline_part import (
    PartOutcome,
    RoutedPartResult,
    holds_error,
)
from cachemesh.transport.aio.replica_reads import read
from cachemesh.transport.aio.shard import ShardClient
from cachemesh.transport.aio.sub_requests import PartRequests, ReadRequests, Requests

_NO_REPLIES = (ShardUnavailableError, ShardRetiredError)
"""The exceptions that may stand in place of a part's replies."""

KEPT = (redis.RedisError, UnicodeDecodeError, MemoryError)
"""The exceptions that may stand among replies: those of a command or a shard, no others."""


async def gather(
    requests: Requests,
    read_only: bool,
    decode: bool = True,
    keep_errors: bool = False,
    retry_writes: bool = False,
) -> list[Any]:
    """As `cachemesh.transport.sync.scatter_gather.gather`."""
    if not read_only:
        for _, args in requests:  # before any of it is sent: an argument may prove bad
            require_encodable(args)
    retriable = read_only or retry_writes
    sent = [shard.execute(args, retriable, decode) for shard, args in requests]
    return await in_order(sent, KEPT if keep_errors else ())


async def send_parts(parts: PartRequests, lazily: bool) -> list[RoutedPartResult]:
    """As `cachemesh.transport.sync.scatter_gather.send_parts`.

    All parts are packed before any is sent, whatever ``lazily`` says.
    """
    began = time.monotonic()
    packed = [(shard, part, part.payload()) for shard, part in parts]
    sent = [_send_part(shard, part, payload, began) for shard, part, payload in packed]
    results: list[Any] = await asyncio.gather(*sent, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, _NO_REPLIES):
            raise result
    return results


async def _send_part(
    shard: ShardClient, part: Part, payload: bytes, began: float
) -> RoutedPartResult:
    deadline = began + shard.limit
    instance = shard.instance
    outcome: PartOutcome
    try:
        if instance is None:
            raise NotSentError
        outcome = await instance.ask_all(payload, part.decode, deadline - time.monotonic())
    except NOT_SERVED as error:
        outcome = error
    if isinstance(outcome, list) and not holds_error(outcome):
        return outcome  # nearly always
    return await shard.rest_again(part, deadline, instance, outcome)


async def gather_reads(requests: ReadRequests, reading: Reading, decode: bool) -> list[Any]:
    """As `cachemesh.transport.sync.scatter_gather.gather_reads`."""
    sent = [read(shard, args, keys, reading, decode) for shard, args, keys in requests]
    return await in_order(sent, KEPT)


async def in_order(
    sent: Iterable[Awaitable[Any]], kept: type[Exception] | tuple[type[Exception], ...] = ()
) -> list[Any]:
    """Wait for the replies of several shards, and return them in order.

    Args:
        sent: one for each shard.
        kept: exceptions that may stand among the replies.

    Raises:
        The first other exception in order of ``sent``, after all replies have been taken in.
    """
    replies: list[Any] = await asyncio.gather(*sent, return_exceptions=True)
    retired = False
    for reply in replies:
        if isinstance(reply, ShardRetiredError):
            retired = True
        elif isinstance(reply, BaseException) and not isinstance(reply, kept):
            raise reply
    if retired:
        raise PartlyRetiredError(replies)
    return replies
