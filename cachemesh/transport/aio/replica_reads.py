"""Reads from replicas too, over the asyncio transport."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

from cachemesh.core.reads.read_loop import read_again
from cachemesh.core.reads.read_preference import Reading
from cachemesh.core.resilience.error_classification import NOT_SERVED
from cachemesh.core.resilience.steps import Read, Send
from cachemesh.transport.aio.instance import Instance
from cachemesh.transport.aio.shard import ShardClient


async def read(
    shard: ShardClient,
    args: tuple[Any, ...],
    keys: Sequence[bytes],
    reading: Reading,
    decode: bool,
) -> Any:
    """Send a command that only reads, to the instance that the read preference says.

    Each instance has half of the time limit, so that there is time to ask another.

    Args:
        shard: that owns the keys.
        args: the command.
        keys: that the command reads.
        reading: the read preference.
        decode: whether to decode the reply.

    Raises:
        As `ShardClient.execute`.
    """
    began = time.monotonic()
    candidates = shard.readable(reading, keys, began)
    outcome: Any = None
    if candidates and not shard.for_master(reading, candidates[0], began, False):
        try:
            outcome = await candidates[0].read(args, decode, shard.limit / 2)
        except NOT_SERVED as error:
            outcome = error
        if not isinstance(outcome, Exception):
            return outcome
    elif not reading.only_replicas:
        return await shard.execute(args, True, decode)
    return await read_elsewhere(shard, args, keys, reading, decode, began, candidates, outcome)


async def read_elsewhere(
    shard: ShardClient,
    args: tuple[Any, ...],
    keys: Sequence[bytes],
    reading: Reading,
    decode: bool,
    began: float,
    candidates: Sequence[Instance],
    outcome: Exception | None,
) -> Any:
    """Go on with a read after the first candidate failed, or none will do.

    Args:
        shard, args, keys, reading, decode: as for `read`.
        began: when the read did, by `time.monotonic`.
        candidates: what `ShardBase.readable` gave.
        outcome: of the first candidate; None if none was asked.

    Raises:
        As `ShardClient.execute`.
    """

    async def send(step: Send[Instance]) -> Any:
        if isinstance(step, Read):
            return await step.instance.read(args, decode, step.seconds)
        return await step.instance.ask_within(args, decode, step.seconds)

    clocks = (time.monotonic, random.random)
    loop = read_again(shard, args, keys, reading, began, candidates, outcome, *clocks)
    return await shard.drive(loop, send)
