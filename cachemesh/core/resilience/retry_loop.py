"""The loops that send a request again after an attempt failed, for both transports. No I/O.

    a first attempt failed --> RetryLoop --FindMaster--> WaitForMaster --Send--> the reply
                                             ^                           |
                                             +--- the attempt failed ----+

Each loop is a generator of the steps of `cachemesh.core.resilience.steps`, entered only after a
first attempt failed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, NoReturn, Protocol

import redis

from cachemesh.core.errors import ShardUnavailableError
from cachemesh.core.resilience.error_classification import (
    Failure,
    NotSentError,
    failure_of,
    is_answer,
    lacks_replicas,
)
from cachemesh.core.resilience.pipeline_part import PartOutcome, PartResult, PipelinePart, unserved
from cachemesh.core.resilience.replica_patience import ReplicaPatience
from cachemesh.core.resilience.retry import Attempts, retry_until
from cachemesh.core.resilience.steps import FindMaster, InstanceT, Loop, Send, Step, WaitForMaster


class RetriedShard(Protocol[InstanceT]):
    """A shard, as far as sending requests again goes.

    Attributes:
        instance: the master; None if no master is known.
        ended: the topology of the shard is followed no more, so nothing is sent again.
        replica_patience: with a master that lacks replicas.
    """

    instance: InstanceT | None
    ended: bool
    replica_patience: ReplicaPatience

    def give_up(self, instance: InstanceT | None, error: Exception) -> NoReturn:
        """Raise what the app is to see of the last attempt."""


class RetryLoop(Generic[InstanceT]):
    """Sends one request to a shard's master until it has run or may not be retried.

    Args:
        shard: whose master to ask.
        retriable: the request may run twice: it only reads, or the app has said so.
        deadline: of the request, in seconds on the clock of ``now``.
        now: the clock.
        jitter: draws evenly from [0, 1).
        blocks: seconds that the command itself may block on the server.
    """

    def __init__(
        self,
        shard: RetriedShard[InstanceT],
        retriable: bool,
        deadline: float,
        now: Callable[[], float],
        jitter: Callable[[], float],
        blocks: float = 0.0,
    ) -> None:
        self._shard = shard
        self._deadline = deadline
        self._attempts = Attempts(retriable, retry_until(deadline, now()))
        self._now = now
        self._jitter = jitter
        self._blocks = blocks

    def again(self, request: Any, instance: InstanceT | None, outcome: Exception) -> Loop:
        """Send a single command again, after an attempt that got no reply or an error reply.

        Args:
            request: passed on in each `Send`.
            instance: that was asked; None if no master was known.
            outcome: of that attempt.

        Returns:
            The reply.

        Raises:
            redis.ResponseError: an error reply that the app is to see.
            redis.DataError: an argument Redis has no form for; nothing was sent.
            ShardUnavailableError, or another error of `RetriedShard.give_up`.
        """
        while True:
            if is_answer(outcome) or isinstance(outcome, redis.DataError):
                raise outcome
            yield from self._before_next(instance, outcome)
            instance, reply = yield from self._attempt(request)
            if not isinstance(reply, Exception):
                return reply
            outcome = reply

    def rest_again(
        self, part: PipelinePart, instance: InstanceT | None, outcome: PartOutcome
    ) -> Generator[Step, Any, PartResult]:
        """Send the commands of a pipeline's part again that have not run.

        Args:
            part: the whole part; each `Send` has the commands that are left.
            instance: that was asked; None if no master was known.
            outcome: of the first attempt.

        Returns:
            The replies, error replies among them; or why the shard gave none.
        """
        replies: list[Any] = []
        places: Sequence[int] = range(len(part.commands))
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
                yield from self._before_next(instance, error)
            except ShardUnavailableError as why:
                return unserved(replies, places, why)
            except redis.ResponseError:
                if not lacks_replicas(error):
                    raise
                return replies
            instance, outcome = yield from self._attempt(part.only(places))

    def _attempt(self, request: Any) -> Generator[Step, Any, tuple[InstanceT | None, Any]]:
        """Ask the master of now; return that instance, and the outcome."""
        instance = self._shard.instance
        if instance is None:
            return None, NotSentError()
        seconds = self._deadline + self._blocks - self._now()
        return instance, (yield Send(instance, request, seconds))

    def _before_next(
        self, instance: InstanceT | None, error: Exception
    ) -> Generator[Step, Any, None]:
        """Return when it is time for the next attempt.

        Raises:
            Whatever `RetriedShard.give_up` raises: there is to be no other attempt.
        """
        shard = self._shard
        failure = failure_of(error)
        if failure is None or shard.ended:
            shard.give_up(instance, error)
        if failure is Failure.LACKS_REPLICAS and not shard.replica_patience.waits(self._now()):
            shard.give_up(instance, error)
        if instance is not None and failure in (Failure.NO_REPLY, Failure.NOT_READY):
            instance.failed(failure)
        if instance is not None and failure is Failure.NOT_MASTER:
            instance.close_idle()  # a write goes there only after ROLE was checked anew
        if shard.instance is instance and failure is not Failure.BROKEN:
            yield FindMaster(instance, error, self._attempts.deadline - self._now())
        moved = shard.instance is not instance
        if not moved and instance is not None and not instance.breaker.closed:
            shard.give_up(instance, error)
        delay = self._attempts.delay(failure, self._now(), self._jitter())
        if delay is None:
            shard.give_up(instance, error)
        if delay and not moved:
            yield WaitForMaster(None if instance is None else instance.address, delay)
