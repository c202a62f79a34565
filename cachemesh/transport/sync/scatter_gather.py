"""Commands to several shards at once, over the blocking transport."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import redis

from cachemesh.core.errors import ShardUnavailableError
from cachemesh.core.resilience.retry import Attempts, retry_until
from cachemesh.transport import redis_py
from cachemesh.transport.failures import NOT_SERVED, NotSentError, is_answer
from cachemesh.transport.part import Outcome, Part, holds_error, unserved
from cachemesh.transport.sync.connection import Link
from cachemesh.transport.sync.instance import Instance
from cachemesh.transport.sync.shard import ShardClient

_LAST_CHANCE = 0.002  # seconds, for a reply that had all the time there is already


class Way(Protocol):
    """Where packed commands may be sent: a `ShardClient`, or one instance of it."""

    @property
    def instance(self) -> Instance | None:
        """None if nobody knows one."""


Sending = tuple[Way, bytes, Sequence[bool]]
"""Where to, packed commands, and for each of their replies whether to decode it."""


def exchange(sendings: Iterable[Sending], deadline: float) -> list[tuple[Instance | None, Outcome]]:
    """Commands to several shards, all in flight at once: one write and one read per shard.

    Args:
        sendings: may be made one by one; a shard works on its part while the next is packed.
        deadline: for all together, by `time.monotonic`.

    Returns:
        Per sending the instance it was sent to, and what came of it.
    """
    started: list[tuple[Way, Instance | None, Link | Exception, Sequence[bool]]] = []
    done: list[tuple[Instance | None, Outcome]] = []
    try:
        for node, payload, decode in sendings:
            instance = node.instance
            try:
                started.append((node, instance, _start(instance, payload, deadline), decode))
            except NOT_SERVED as error:
                started.append((node, instance, error, decode))
        for _, to, sent, decode in started:
            if to is None or isinstance(sent, Exception):
                done.append((to, sent if isinstance(sent, Exception) else NotSentError()))
            else:
                done.append((to, _finish(to, sent, decode, deadline)))
    finally:
        for _, to, sent, _ in started[len(done) :]:  # interrupted half-way
            if isinstance(sent, Link) and to is not None:
                to.close(sent)
    return done


def _start(instance: Instance | None, payload: bytes, deadline: float) -> Link:
    """First half of an exchange.

    To connect takes half of the time that is left, at most: other shards are to be asked as well.
    """
    if instance is None:
        raise NotSentError
    link = instance.take((deadline - time.monotonic()) / 2)
    try:
        link.send_within(payload, deadline)
    except BaseException:
        instance.close(link)
        raise
    return link


def _finish(instance: Instance, link: Link, decode: Sequence[bool], deadline: float) -> Outcome:
    """Second half of an exchange."""
    try:
        replies = link.read_all(decode, max(deadline, time.monotonic() + _LAST_CHANCE))
    except NOT_SERVED as error:
        instance.close(link)
        return error
    except BaseException:
        instance.close(link)
        raise
    instance.give_back(link)
    if instance.doubted and not holds_error(replies):
        instance.served()
    return replies


def gather(
    requests: Sequence[tuple[ShardClient, tuple[Any, ...]]],
    read_only: bool,
    decode: bool = True,
    keep_errors: bool = False,
    retry_writes: bool = False,
) -> list[Any]:
    """One command to each of several shards, all in flight at once; replies in order.

    A part that failed is tried again on its own, as in `ShardClient.execute`.

    Args:
        read_only: the command changes nothing.
        keep_errors: error replies, and shards that gave none, stand in the list as exceptions.
        retry_writes: one that may have run is sent again though it writes.

    Raises:
        The first failure, in order of ``requests``, after all replies have been taken in.
    """
    deadline = time.monotonic() + max(node.limit for node, _ in requests)
    packed = ((node, redis_py.pack(args), (decode,)) for node, args in requests)
    # What writes is packed whole before any of it is sent: an argument may prove bad.
    outcomes = exchange(packed if read_only else list(packed), deadline)
    repeatable = read_only or retry_writes
    replies = []
    for (node, args), (instance, outcome) in zip(requests, outcomes, strict=True):
        reply = outcome[0] if isinstance(outcome, list) else outcome
        if isinstance(reply, Exception):
            if isinstance(reply, NOT_SERVED) and (reply is outcome or not is_answer(reply)):
                reply = _second_try(node, args, repeatable, decode, deadline, instance, reply)
            if isinstance(reply, Exception) and not keep_errors:
                raise reply
        replies.append(reply)
    return replies


def _second_try(
    node: ShardClient,
    args: tuple[Any, ...],
    repeatable: bool,
    decode: bool,
    deadline: float,
    instance: Instance | None,
    error: Exception,
) -> Any:
    """The reply after all, or the error."""
    try:
        return node.again(redis_py.pack(args), repeatable, decode, deadline, instance, error)
    except (redis.RedisError, MemoryError) as final:
        return final


def complete(
    node: ShardClient, part: Part, deadline: float, instance: Instance | None, outcome: Outcome
) -> list[Any] | ShardUnavailableError:
    """A pipeline's part, after the first attempt: what has not run is sent again.

    Args:
        deadline: by `time.monotonic`.
        instance, outcome: of the first attempt.

    Returns:
        The replies, error replies among them, or why the shard gave none.
    """
    if isinstance(outcome, list) and not holds_error(outcome):
        return outcome  # nearly always
    replies: list[Any] = []
    places: Sequence[int] = range(len(part.commands))
    attempts = Attempts(part.repeatable, retry_until(deadline, time.monotonic()))
    while True:
        if isinstance(outcome, list):
            replies = replies or outcome
            for place, reply in zip(places, outcome, strict=True):
                replies[place] = reply
            places = part.undone(replies)
            if not places:
                return replies
            error = next(r for p in places if isinstance(r := replies[p], Exception))
        else:
            error = outcome
        try:
            node.settle(attempts, instance, error)
        except ShardUnavailableError as final:
            return unserved(replies, places, final)
        rest = part.only(places)
        ((instance, outcome),) = exchange([(node, rest.payload(), rest.decode)], deadline)


def send_parts(
    parts: Sequence[tuple[ShardClient, Part]], lazily: bool
) -> list[list[Any] | ShardUnavailableError]:
    """Send the parts of a pipeline, all in flight at once, and what has not run again.

    Args:
        parts: each with the shard it is for.
        lazily: pack a part only when it is sent, while other shards are at work on theirs. Without,
            all parts are packed first: an argument may have no form.

    Returns:
        For each part its replies, error replies among them, or why the shard gave none.
    """
    deadline = time.monotonic() + max((shard.limit for shard, _ in parts), default=0.0)
    packed = ((shard, part.payload(), part.decode) for shard, part in parts)
    outcomes = exchange(packed if lazily else list(packed), deadline)
    return [
        complete(shard, part, deadline, *outcome)
        for (shard, part), outcome in zip(parts, outcomes, strict=True)
    ]
