"""Reads from replicas too, for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import redis

from cachemesh.core.reads.read_preference import Reading
from cachemesh.transport import redis_py
from cachemesh.transport.aio.instance import Instance, send
from cachemesh.transport.aio.scatter_gather import in_order
from cachemesh.transport.aio.shard import ShardClient
from cachemesh.transport.failures import NOT_SERVED, is_answer
from cachemesh.transport.shard_base import WAIT_STEP


async def read(
    node: ShardClient, args: tuple[Any, ...], keys: Sequence[bytes], reading: Reading, decode: bool
) -> Any:
    """As `cachemesh.transport.sync.replica_reads.read`."""
    began = time.monotonic()
    deadline = began + node.limit
    error: Exception | None = None
    while True:
        for instance in node.readable(reading, keys, time.monotonic()):
            asked = time.monotonic()
            if asked > deadline or node.for_master(reading, instance, began, error is not None):
                break
            try:
                reply = await _from(instance, args, decode, min(node.limit / 2, deadline - asked))
            except redis.DataError:
                raise  # an argument that has no form; nothing was sent
            except NOT_SERVED as failure:
                if not is_answer(failure):
                    node.note_failed(instance, failure, asked)
                    error = failure
                    continue
                if node.lacks_script(reading, instance, failure):
                    break
                raise
            return reply
        if not reading.only_replicas:
            if error is None:
                return await node.execute(args, True, decode)
            return await node.execute_late(args, decode, began)
        if not node.may_come(began, error):
            node.raise_unread(reading, error)
        node.hurry()
        await asyncio.sleep(WAIT_STEP)


async def _from(instance: Instance, args: tuple[Any, ...], decode: bool, seconds: float) -> Any:
    link = instance.link
    if link is None or not link.ready:
        link = await instance.connected_within(seconds)
    asked = time.monotonic()
    try:
        if instance.role is None:  # waits no longer by itself
            reply = await link.send(redis_py.pack(args), decode)
        else:
            reply = await send(instance, args, decode, seconds)
    except NOT_SERVED as error:
        if is_answer(error):
            instance.window.succeeded(asked, time.monotonic() - asked)
        raise
    instance.window.succeeded(asked, time.monotonic() - asked)
    if instance.doubted:
        instance.served()
    return reply


async def gather_reads(
    requests: Sequence[tuple[ShardClient, tuple[Any, ...], Sequence[bytes]]],
    reading: Reading,
    decode: bool,
) -> list[Any]:
    """Read from several shards, all in flight at once, from where ``reading`` says.

    Returns:
        Replies in order; error replies, and what `read` raises for shards that gave none, are
        among them.
    """
    sent = [read(shard, args, keys, reading, decode) for shard, args, keys in requests]
    return await in_order(sent, redis.RedisError)
