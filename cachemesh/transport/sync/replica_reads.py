"""Reads from replicas too, over the blocking transport."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from cachemesh.core.reads.read_loop import read_again
from cachemesh.core.reads.read_preference import Reading
from cachemesh.core.resilience.error_classification import NOT_SERVED, is_answer
from cachemesh.core.resilience.steps import Read, Send
from cachemesh.transport import redis_py
from cachemesh.transport.sync.instance import Instance
from cachemesh.transport.sync.scatter_gather import SubRequest, exchange
from cachemesh.transport.sync.shard import ShardClient

ReadRequest = tuple[ShardClient, tuple[Any, ...], Sequence[bytes]]
"""A shard, a command for it, and the keys that the command reads."""


def read(
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
            outcome = candidates[0].read(args, decode, shard.limit / 2)
        except NOT_SERVED as error:
            outcome = error
        if not isinstance(outcome, Exception):
            return outcome
    elif not reading.only_replicas:
        return shard.execute(args, True, decode)
    return read_elsewhere(shard, args, keys, reading, decode, began, candidates, outcome)


def read_elsewhere(
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

    def send(step: Send[Instance] | Read[Instance]) -> Any:
        if isinstance(step, Read):
            return step.instance.read(args, decode, step.seconds)
        return step.instance.ask_within(args, decode, step.seconds)

    clocks = (time.monotonic, random.random)
    loop = read_again(shard, args, keys, reading, began, candidates, outcome, *clocks)
    return shard.drive(loop, send)


@dataclass(frozen=True)
class _Choice:
    """The instance of one shard that is asked first; None if none will do."""

    instance: Instance | None


def gather_reads(requests: Sequence[ReadRequest], reading: Reading, decode: bool) -> list[Any]:
    """Send one command to each of several shards, all in flight at once, as `read` does.

    Returns:
        The replies in order; error replies, and what `read` raises for shards that gave none, are
        among them.
    """
    began = time.monotonic()
    choices = [shard.readable(reading, keys, began) for shard, _, keys in requests]
    sub_requests: list[SubRequest] = [
        (_Choice(candidates[0] if candidates else None), redis_py.pack(args), (decode,))
        for (_, args, _), candidates in zip(requests, choices, strict=True)
    ]
    # Half of the time, for others to be asked.
    deadline = began + max(shard.limit for shard, _, _ in requests) / 2
    outcomes = exchange(sub_requests, deadline)
    replies: list[Any] = []
    for request, candidates, (instance, outcome) in zip(requests, choices, outcomes, strict=True):
        reply = outcome[0] if isinstance(outcome, list) else outcome
        if isinstance(reply, NOT_SERVED) and (reply is outcome or not is_answer(reply)):
            shard, args, keys = request
            failed = None if instance is None else reply
            try:
                reply = read_elsewhere(
                    shard, args, keys, reading, decode, began, candidates, failed
                )
            except (redis.RedisError, MemoryError) as error:
                reply = error
        elif instance is not None:
            instance.window.succeeded(began, time.monotonic() - began)
        replies.append(reply)
    return replies
