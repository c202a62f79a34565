"""Commands to several shards at once, over the blocking transport: all are written before any read.

Single commands (`gather`), a pipeline's parts (`send_parts`), and reads (see `replica_reads`) are
exchanged in the same way; what failed is then sent again shard by shard.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import redis

from cachemesh.core.reads.read_preference import Reading
from cachemesh.core.rerouting import PartlyRetiredError, ShardRetiredError
from cachemesh.core.resilience.error_classification import NOT_SERVED, NotSentError, is_answer
from cachemesh.core.resilience.pipeline_part import PartOutcome, RoutedPartResult, holds_error
from cachemesh.transport import redis_py
from cachemesh.transport.sync.connection import Connection
from cachemesh.transport.sync.instance import Instance
from cachemesh.transport.sync.replica_reads import read_elsewhere
from cachemesh.transport.sync.sub_requests import PartRequests, ReadRequests, Requests


class Destination(Protocol):
    """Where packed commands may be sent: a `ShardClient`, or one instance of it."""

    @property
    def instance(self) -> Instance | None:
        """The instance; None if no instance is known."""


SubRequest = tuple[Destination, bytes, Sequence[bool]]
"""Where to, packed commands, and for each of their replies whether to decode it."""


def exchange(
    requests: Iterable[SubRequest], deadline: float
) -> list[tuple[Instance | None, PartOutcome]]:
    """Send packed commands to several shards, all in flight at once, with one write each.

    Args:
        requests: may be made one by one; a shard works on its part while the next is packed.
        deadline: for all together, by `time.monotonic`.

    Returns:
        For each request the instance it was sent to, and the outcome.
    """
    started: list[tuple[Instance | None, Connection | Exception, Sequence[bool]]] = []
    done: list[tuple[Instance | None, PartOutcome]] = []
    try:
        for destination, payload, decode in requests:
            instance = destination.instance
            try:
                if instance is None:
                    raise NotSentError
                started.append((instance, instance.start(payload, deadline), decode))
            except NOT_SERVED as error:
                started.append((instance, error, decode))
        for asked, sent, decode in started:
            if asked is None or isinstance(sent, Exception):
                done.append((asked, sent if isinstance(sent, Exception) else NotSentError()))
            else:
                done.append((asked, asked.finish(sent, decode, deadline)))
    finally:
        for asked, sent, _ in started[len(done) :]:  # interrupted half-way
            if isinstance(sent, Connection) and asked is not None:
                asked.close(sent)
    return done


def gather(
    requests: Requests,
    read_only: bool,
    decode: bool = True,
    keep_errors: bool = False,
    retry_writes: bool = False,
) -> list[Any]:
    """Send one command to each of several shards, all in flight at once; return replies in order.

    A request that failed is sent again on its own, as in `ShardClient.execute`.

    Args:
        read_only: the commands change nothing.
        decode: whether to decode the replies.
        keep_errors: error replies, and shards that gave none, stand in the list as exceptions.
        retry_writes: a write that may have run is sent again.

    Raises:
        The first failure, in order of ``requests``, after all replies have been taken in.
    """
    began = time.monotonic()
    deadline = began + max(shard.limit for shard, _ in requests)
    packed = ((shard, redis_py.pack(args), (decode,)) for shard, args in requests)
    # What writes is packed whole before any of it is sent: an argument may prove bad.
    outcomes = exchange(packed if read_only else list(packed), deadline)
    retriable = read_only or retry_writes
    replies: list[Any] = []
    retired = False
    for (shard, args), (instance, outcome) in zip(requests, outcomes, strict=True):
        reply = outcome[0] if isinstance(outcome, list) else outcome
        if isinstance(reply, Exception):
            if isinstance(reply, NOT_SERVED) and (reply is outcome or not is_answer(reply)):
                try:
                    reply = shard.again(args, retriable, decode, began, instance, reply)
                except (redis.RedisError, MemoryError, ShardRetiredError) as final:
                    reply = final
            if isinstance(reply, ShardRetiredError):
                retired = True
            elif isinstance(reply, Exception) and not keep_errors:
                raise reply
        replies.append(reply)
    if retired:
        raise PartlyRetiredError(replies)
    return replies


def send_parts(parts: PartRequests, lazily: bool) -> list[RoutedPartResult]:
    """Send a pipeline's parts to their shards, all in flight at once; then send leftovers again.

    Args:
        parts: each with its shard.
        lazily: pack each part only after the one before was sent. Only for parts that only read:
            an argument may prove bad when others have been sent.

    Returns:
        For each part the replies, error replies among them, or why its shard gave none.
    """
    deadline = time.monotonic() + max((shard.limit for shard, _ in parts), default=0.0)
    packed = ((shard, part.payload(), part.decode) for shard, part in parts)
    outcomes = exchange(packed if lazily else list(packed), deadline)
    results: list[RoutedPartResult] = []
    for (shard, part), (instance, outcome) in zip(parts, outcomes, strict=True):
        if isinstance(outcome, list) and not holds_error(outcome):
            results.append(outcome)  # nearly always
        else:
            results.append(shard.rest_again(part, deadline, instance, outcome))
    return results


@dataclass(frozen=True)
class _Choice:
    """The instance of one shard that is asked first; None if none will do."""

    instance: Instance | None


def gather_reads(requests: ReadRequests, reading: Reading, decode: bool) -> list[Any]:
    """Send one command that only reads to each of several shards, all in flight at once.

    Each goes to the instance that the read preference says, as in `replica_reads.read`.

    Args:
        reading: the read preference.
        decode: whether to decode the replies.

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
    retired = False
    for request, candidates, (instance, outcome) in zip(requests, choices, outcomes, strict=True):
        reply = outcome[0] if isinstance(outcome, list) else outcome
        if isinstance(reply, NOT_SERVED) and (reply is outcome or not is_answer(reply)):
            shard, args, keys = request
            failed = None if instance is None else reply
            try:
                reply = read_elsewhere(
                    shard, args, keys, reading, decode, began, candidates, failed
                )
            except (redis.RedisError, MemoryError, ShardRetiredError) as error:
                reply = error
                retired = retired or isinstance(error, ShardRetiredError)
        elif instance is not None:
            instance.window.succeeded(began, time.monotonic() - began)
        replies.append(reply)
    if retired:
        raise PartlyRetiredError(replies)
    return replies
