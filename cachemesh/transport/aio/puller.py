"""Pulls keys from one shard to another for all who wait for them, over the asyncio transport.

    task 1 -- a, b --\\
    task 2 -- c ------+-- one pull of a, b, c --> source, target
    task 3 -- a -----/

One pull at a time runs between two shards; who comes meanwhile shares the next one. If that fails
in a way that may be due to one of the keys, each goes on alone; if it was too slow, so does each
key, once all others are through.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import redis

from cachemesh.core.errors import ShardTimeoutError, ShardUnavailableError
from cachemesh.core.migration.pull import (
    IDLE_MS,
    Cut,
    Link,
    NoRoomError,
    NotReplicatedError,
    Pull,
    PullError,
    SlowTransferError,
    TransferError,
)
from cachemesh.core.migration.waiter import BATCH, Waiter
from cachemesh.core.resilience.error_classification import NotSentError
from cachemesh.transport.aio.shard import ShardClient

# sync: from cachemesh.transport.turns import Turns
from cachemesh.transport.unavailable import still_moving

_LONGEST = 0.25  # seconds that replicas are waited for at once: a resize waits for that, too
_CUT = 0.25  # seconds that the end of a late copy may take after the deadline
_RECENTLY = 0.1  # seconds since the target has answered, after which it is asked whether it does
_AGAIN = 0.02  # seconds before a pull that did not end is begun anew


class Puller:
    """Pulls keys from one shard to another.

    Args:
        source, target: the shards, as they are in this stage. Once they are retired, nothing is
            pulled any more.
        link: returns how keys get there by now, from the seconds that a request may take; None if
            no master of the target is known.
    """

    def __init__(
        self, source: ShardClient, target: ShardClient, link: Callable[[float], Link | None]
    ) -> None:
        self._source, self._target = source, target
        self._link = link
        self._why: Exception | None = None  # the last attempt did not end
        self._waiting = set[Waiter]()
        self._answered = -math.inf  # when the target last has, by `time.monotonic`
        self._late = False  # a copy may be under way that has not been cut off
        self._pulling = asyncio.Lock()  # asyncio
        # sync: self._turns = Turns()

    async def pull(self, left: set[bytes], deadline: float) -> None:
        """Return once neither the source nor its replicas have the keys.

        Args:
            left: keys that the source may have; those are taken out that it has no more.
            deadline: by `time.monotonic`.

        Raises:
            ShardRetiredError: the stage is over.
            ShardUnavailableError: a shard does not serve, or its replicas do not.
            redis.OutOfMemoryError: the target has no room.
        """
        waiter = Waiter(left)
        self._waiting.add(waiter)
        try:
            while left:
                # sync: with self._turns.turn(deadline - time.monotonic()) as came:
                # sync:     if not came:
                # sync:         raise self.still_moving()
                # sync:     failure = self._pull_some(waiter, deadline)
                if True:  # asyncio: whoever waits for this has a bound on it
                    async with self._pulling:
                        failure = await self._pull_some(waiter, deadline)
                if failure is not None:  # others have their turn
                    await self._before_next(waiter, failure, deadline)
        finally:
            self._waiting.discard(waiter)

    async def _pull_some(self, waiter: Waiter, deadline: float) -> Exception | None:
        """Pull some of the keys that one waits for, and some of those that others wait for, once.

        Returns:
            Why that did not end; None if all may have been due to others' keys, too.
        """
        own = waiter.some()
        if not own:
            return None  # another did
        batch = dict.fromkeys(own)
        for other in [each for each in list(self._waiting) if waiter.shares and each.shares]:
            batch.update(dict.fromkeys(list(other.left)[: BATCH - len(batch)]))
        try:
            await self._attempt(list(batch), waiter.idle, deadline)
        except ShardTimeoutError as late:
            if waiter.why is None:
                raise
            raise self.still_moving(waiter) from late
        except (PullError, redis.ResponseError) as error:
            if len(batch) > len(own) and _of_some_key(error):
                waiter.shares = False
                return None
            if isinstance(error, SlowTransferError):
                waiter.was_slow(own)
            return error
        waiter.why = None
        waiting = list(self._waiting)
        for each in waiting:
            each.left.difference_update(batch)
        self._why = next((each.why for each in waiting if each.why is not None), None)
        return None

    async def _before_next(self, waiter: Waiter, failure: Exception, deadline: float) -> None:
        """Return when it is time for the next attempt, after one that failed for a waiter's keys.

        Raises:
            As `pull`: there is to be no other attempt.
        """
        if isinstance(failure, NoRoomError):
            raise redis.exceptions.OutOfMemoryError(
                f"OOM {failure}; the key stays on shard {self._source.name!r} until shard "
                f"{self._target.name!r} has room"
            ) from failure
        if not isinstance(failure, (TransferError, NotReplicatedError)):
            raise still_moving(self._source.name, self._target.name, failure) from failure
        waiter.why = self._why = failure
        if not isinstance(failure, SlowTransferError):
            waiter.idle = IDLE_MS
        if time.monotonic() + _AGAIN >= deadline:
            raise self.still_moving(waiter) from failure
        await asyncio.sleep(_AGAIN)
        if isinstance(failure, TransferError):
            self._answered = -math.inf  # it may have another master by now

    async def _attempt(self, keys: list[bytes], idle: int, deadline: float) -> None:
        """Pull the keys once, from the beginning."""
        link = self._link_until(deadline, idle)
        if time.monotonic() > self._answered + _RECENTLY:
            # Else the source would wait for the target where that hangs, and serve nobody.
            await self._target.ask_all([("PING",)], deadline)
            link = self._link_until(deadline, idle)
        pull: Pull | Cut | None = Pull(link, tuple(keys), late=self._late)
        while pull is not None:
            pull = await self._step(pull, deadline)

    def _link_until(self, deadline: float, idle: int) -> Link:
        """Return how keys get to the target, if that is not known not to serve."""
        self._target.require_serving()
        left = deadline - time.monotonic()
        link = self._link(min(max(0.0, left) / 2, _LONGEST))
        if link is None:
            raise self._target.unavailable(None, NotSentError("no master of it is known"))
        # The other half is for the source's answer, and to cut off what it has left under way.
        return replace(link, idle_ms=max(1, int(min(idle, 1000 * left / 2))))

    async def _step(self, pull: Pull | Cut, deadline: float) -> Pull | Cut | None:
        """Make one request of a pull, and return what follows."""
        asked, lost = pull.ask(), list[Exception]()
        shard = self._source if asked.side == "source" else self._target
        began = time.monotonic()
        if isinstance(pull, Cut):  # also where the stage is over
            shard = shard.latest
            deadline = max(deadline, began + _CUT)
        replies: list[Any] | None = None
        try:
            replies = await shard.ask_apart(asked.commands, deadline, lost)
        finally:
            if replies is None and (pull.late or pull.copies):
                self._late = True
        if asked.side == "target":
            self._answered = time.monotonic()
        if lost and isinstance(pull, Pull) and pull.copies:
            pull = replace(pull, late=True)
        after: Pull | Cut | None = None
        try:
            after = pull.answered(replies, time.monotonic() - began)
        finally:
            if isinstance(pull, Cut) and not isinstance(after, Cut):
                self._late = False
        return after

    def still_moving(self, waiter: Waiter | None = None) -> ShardUnavailableError:
        """Return the error for a command that has no time left, with what went wrong last."""
        why = self._why if waiter is None or waiter.why is None else waiter.why
        return still_moving(self._source.name, self._target.name, why)


def _of_some_key(error: Exception) -> bool:
    """Return whether an attempt with other keys may succeed: it is not the shards that fail."""
    if isinstance(error, TransferError):
        return isinstance(error, SlowTransferError)
    return not isinstance(error, NotReplicatedError)
