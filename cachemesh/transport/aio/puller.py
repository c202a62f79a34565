"""Pulls keys from one shard to another for all who wait for them, over the asyncio transport.

    task 1 -- a, b --\\
    task 2 -- c ------+-- one pull of a, b, c --> source, target
    task 3 -- a -----/

One pull at a time runs between two shards; who comes meanwhile shares the next one.
"""

from __future__ import annotations

import asyncio

# sync: import math
# sync: import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace

import redis

from cachemesh.core.errors import ShardTimeoutError, ShardUnavailableError
from cachemesh.core.migration.pull import (
    IDLE_MS,
    Link,
    NoRoomError,
    NotReplicatedError,
    Pull,
    PullError,
    SlowTransferError,
    TransferError,
)
from cachemesh.core.resilience.error_classification import NotSentError
from cachemesh.transport.aio.shard import ShardClient
from cachemesh.transport.unavailable import still_moving

BATCH = 32
"""Keys of one pull. While they are copied the source serves nobody else."""

_LONGEST = 0.25  # seconds that replicas are waited for at once: a resize waits for that, too
_LONGER = 4  # times as long may the target take to answer in the next attempt, each time
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
        self._why: PullError | None = None  # the last attempt did not end
        self._waiting: dict[int, set[bytes]] = {}  # keys that somebody waits for, by `id`
        self._pulling = asyncio.Lock()  # asyncio
        # sync: self._pulling = threading.Lock()

    async def pull(self, keys: Collection[bytes], deadline: float) -> None:
        """Return once neither the source nor its replicas have the keys.

        Args:
            keys: that the source may have.
            deadline: by `time.monotonic`.

        Raises:
            ShardRetiredError: the stage is over.
            ShardUnavailableError: a shard does not serve, or its replicas do not.
            redis.OutOfMemoryError: the target has no room.
        """
        left = set(keys)
        self._waiting[id(left)] = left
        try:
            while left:
                # sync: seconds = deadline - time.monotonic()
                # sync: at_most = -1 if math.isinf(seconds) else max(0.0, seconds)
                # sync: if not self._pulling.acquire(timeout=at_most):
                # sync:     raise self.still_moving()
                # sync: try:
                # sync:     self._pull_some(left, deadline)
                # sync: finally:
                # sync:     self._pulling.release()
                if True:  # asyncio: the lock is let go when a task is cancelled
                    async with self._pulling:
                        await self._pull_some(left, deadline)
        finally:
            del self._waiting[id(left)]

    async def _pull_some(self, left: set[bytes], deadline: float) -> None:
        """Pull some of these keys, and some of those that others wait for."""
        if not left:
            return  # another did
        own = list(left)[:BATCH]
        batch = dict.fromkeys(own)
        for others in list(self._waiting.values()):
            batch.update(dict.fromkeys(list(others)[: BATCH - len(batch)]))
        pulled = list(batch)
        try:
            await self._pull(pulled, deadline)
        except redis.exceptions.OutOfMemoryError:
            if len(pulled) == len(own):
                raise
            pulled = own  # it may be the others' keys that do not fit
            await self._pull(pulled, deadline)
        for keys in list(self._waiting.values()):
            keys.difference_update(pulled)

    async def _pull(self, keys: list[bytes], deadline: float) -> None:
        idle = IDLE_MS
        while True:
            try:
                await self._attempt(keys, idle, deadline)
                self._why = None
                return
            except ShardTimeoutError as late:
                if self._why is None:
                    raise
                raise self.still_moving() from late
            except (TransferError, NotReplicatedError) as error:
                self._why = error
                if time.monotonic() + _AGAIN >= deadline:
                    raise self.still_moving() from error
                await asyncio.sleep(_AGAIN)
                if isinstance(error, TransferError):
                    slow = isinstance(error, SlowTransferError)
                    idle = idle * _LONGER if slow else IDLE_MS
                    # It may have another master by now.
                    await self._target.execute(("PING",), True)
            except NoRoomError as error:
                raise redis.exceptions.OutOfMemoryError(
                    f"OOM {error}; the key stays on shard {self._source.name!r} until shard "
                    f"{self._target.name!r} has room"
                ) from error
            except (PullError, redis.ResponseError) as error:
                raise still_moving(self._source.name, self._target.name, error) from error

    async def _attempt(self, keys: list[bytes], idle: int, deadline: float) -> None:
        """Pull the keys once, from the beginning."""
        self._target.require_serving()  # else the source would wait for it, and serve nobody
        left = deadline - time.monotonic()
        link = self._link(min(max(0.0, left) / 2, _LONGEST))
        if link is None:
            raise self._target.unavailable(None, NotSentError("no master of it is known"))
        link = replace(link, idle_ms=max(1, int(min(idle, 1000 * left))))
        pull: Pull | None = Pull(link, tuple(keys))
        while pull is not None:
            asked = pull.ask()
            shard = self._source if asked.side == "source" else self._target
            pull = pull.answered(await shard.ask_apart(asked.commands, deadline))

    def still_moving(self) -> ShardUnavailableError:
        """Return the error for a command that has no time left, with what went wrong last."""
        return still_moving(self._source.name, self._target.name, self._why)
