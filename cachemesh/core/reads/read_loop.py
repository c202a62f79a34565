"""The loop of a read from replicas after a first instance failed, for both transports. No I/O.

A generator of the steps of `cachemesh.core.resilience.steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol

import redis

from cachemesh.core.reads.read_preference import Reading
from cachemesh.core.resilience.error_classification import NotSentError, is_answer
from cachemesh.core.resilience.retry_loop import RetriedShard, RetryLoop
from cachemesh.core.resilience.steps import InstanceT, Loop, Read, Send, Sleep

CATCH_UP_SECONDS = 0.002
"""Seconds between looks whether a replica has caught up."""


class ReadShard(RetriedShard[InstanceT], Protocol[InstanceT]):
    """A shard, as far as reading from its replicas goes.

    Attributes:
        limit: seconds that a command may take with all its attempts.
    """

    limit: float

    def hurry(self) -> None:
        """Have the replicas measured soon."""

    def readable(self, reading: Reading, keys: Sequence[bytes], now: float) -> list[InstanceT]:
        """Return the instances that may answer a read of these keys, best first."""

    def for_master(self, reading: Reading, instance: InstanceT, began: float, failed: bool) -> bool:
        """Return whether to send the read to the master as any command, instead of asking this one.

        Args:
            instance: the next of `readable`.
            began: when the read did.
            failed: another instance has failed.
        """

    def may_come(self, began: float, error: Exception | None) -> bool:
        """Return whether a replica may yet answer a read that began then, though now none does."""

    def lacks_script(self, reading: Reading, instance: InstanceT, reply: Exception) -> bool:
        """Return whether to ask the master because this instance has not loaded the script."""

    def note_failed(self, instance: InstanceT, error: Exception, now: float) -> None:
        """Record that an instance did not serve a read."""

    def raise_unread(self, reading: Reading, error: Exception | None) -> NoReturn:
        """Raise that no replica answered a read with ``read_from="replica"``."""


def read_again(
    shard: ReadShard[InstanceT],
    request: Any,
    keys: Sequence[bytes],
    reading: Reading,
    began: float,
    candidates: Sequence[InstanceT],
    outcome: Exception | None,
    now: Callable[[], float],
    jitter: Callable[[], float],
) -> Loop:
    """Read from another instance, after the first of the candidates failed or there was none.

    Each instance has half of the time, so that another can be asked. When none is left, the master
    is asked as for any command; by ``read_from="replica"`` a replica is waited for instead.

    Args:
        request: passed on in each `Read` and `Send`.
        keys: that the command reads.
        reading: by which rules.
        began: when the read did, in seconds on the clock of ``now``.
        candidates: what `ReadShard.readable` gave.
        outcome: of the first candidate; None if none was asked.
        now: the clock.
        jitter: draws evenly from [0, 1).

    Returns:
        The reply.

    Raises:
        As `RetryLoop.again`; and `ReadShard.raise_unread`.
    """
    deadline = began + shard.limit
    error: Exception | None = None
    reply: Any
    while True:
        for instance in candidates:
            asked = now()
            if outcome is not None:
                reply, outcome = outcome, None
            elif asked > deadline or shard.for_master(reading, instance, began, error is not None):
                break
            else:
                reply = yield Read(instance, request, min(shard.limit / 2, deadline - asked))
            if not isinstance(reply, Exception):
                return reply
            if is_answer(reply) or isinstance(reply, redis.DataError):
                if shard.lacks_script(reading, instance, reply):
                    break
                raise reply
            shard.note_failed(instance, reply, asked)
            error = reply
        if not reading.only_replicas:
            return (yield from _from_master(shard, request, deadline, now, jitter))
        if not shard.may_come(began, error):
            shard.raise_unread(reading, error)
        shard.hurry()
        yield Sleep(CATCH_UP_SECONDS)
        candidates = shard.readable(reading, keys, now())


def _from_master(
    shard: ReadShard[InstanceT],
    request: Any,
    deadline: float,
    now: Callable[[], float],
    jitter: Callable[[], float],
) -> Loop:
    instance = shard.instance
    reply: Any = NotSentError()
    if instance is not None:
        reply = yield Send(instance, request, deadline - now())
    if not isinstance(reply, Exception):
        return reply
    loop = RetryLoop(shard, True, deadline, now, jitter)
    return (yield from loop.again(request, instance, reply))
