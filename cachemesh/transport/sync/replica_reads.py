"""Reads from replicas too, over the blocking transport."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from cachemesh.core.reads.read_preference import Reading
from cachemesh.transport import redis_py
from cachemesh.transport.failures import NOT_SERVED, is_answer
from cachemesh.transport.shard_base import WAIT_STEP
from cachemesh.transport.sync.instance import Instance
from cachemesh.transport.sync.scatter_gather import Sending, exchange
from cachemesh.transport.sync.shard import ShardClient

Request = tuple[ShardClient, tuple[Any, ...], Sequence[bytes]]
"""A node, a command for it, and the keys which that reads."""


def read(
    node: ShardClient,
    args: tuple[Any, ...],
    keys: Sequence[bytes],
    reading: Reading,
    decode: bool,
    began: float | None = None,
) -> Any:
    """As `ShardClient.execute`, for a command that reads ``keys``, from where ``reading`` says.

    Each instance has half of the time limit, so that there is time to ask another.

    Args:
        began: when the app began to wait; None: now.

    Raises:
        As `ShardClient.execute`.
    """
    payload = redis_py.pack(args)
    fresh = began is None
    began = time.monotonic() if began is None else began
    deadline = began + node.limit
    error: Exception | None = None
    while True:
        for instance in node.readable(reading, keys, time.monotonic()):
            asked = time.monotonic()
            if asked > deadline or node.for_master(reading, instance, began, error is not None):
                break
            try:
                reply = _from(instance, payload, decode, min(deadline, asked + node.limit / 2))
            except NOT_SERVED as failure:
                node.note_failed(instance, failure, asked)
                error = failure
                continue
            if isinstance(reply, Exception):
                if node.lacks_script(reading, instance, reply):
                    break
                raise reply
            return reply
        if not reading.only_replicas:
            if fresh and error is None:
                return node.execute(args, True, decode)
            return node.within(payload, True, decode, deadline)
        if not node.may_come(began, error):
            node.raise_unread(reading, error)
        node.hurry()
        time.sleep(WAIT_STEP)


def _from(instance: Instance, payload: bytes, decode: bool, until: float) -> Any:
    """The reply, or an error reply that is not about the instance; else raises as it does."""
    if not instance.idle:  # how long it takes to connect tells little of the replies to come
        instance.give_back(instance.take(until - time.monotonic()))
    asked = time.monotonic()
    if instance.role is None:  # its connections wait no longer by themselves
        reply = instance.ask(payload, decode, until)
    else:
        reply = instance.ask_within(payload, decode, until - asked)
    if isinstance(reply, Exception) and not is_answer(reply):
        raise reply
    instance.window.succeeded(asked, time.monotonic() - asked)
    return reply


@dataclass(frozen=True)
class _Choice:
    """The instance of one shard that is asked first; None if none will do."""

    instance: Instance | None


def gather_reads(requests: Sequence[Request], reading: Reading, decode: bool) -> list[Any]:
    """One command to each of several shards, all in flight at once, from where ``reading`` says.

    Returns:
        Replies in order; error replies, and what `read` raises for shards that gave none, are
        among them.
    """
    began = time.monotonic()
    sendings: list[Sending] = []
    for node, args, keys in requests:
        first = next(iter(node.readable(reading, keys, began)), None)
        sendings.append((_Choice(first), redis_py.pack(args), (decode,)))
    # Half of the time, for others to be asked.
    outcomes = exchange(sendings, began + max(node.limit for node, _, _ in requests) / 2)
    replies: list[Any] = []
    for (node, args, keys), (instance, outcome) in zip(requests, outcomes, strict=True):
        reply = outcome[0] if isinstance(outcome, list) else outcome
        if isinstance(reply, NOT_SERVED) and (reply is outcome or not is_answer(reply)):
            if instance is not None:
                node.note_failed(instance, reply, began)
            try:
                reply = read(node, args, keys, reading, decode, began)
            except (redis.RedisError, MemoryError) as error:
                reply = error
        elif instance is not None:
            instance.window.succeeded(began, time.monotonic() - began)
        replies.append(reply)
    return replies
