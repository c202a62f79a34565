"""What one shard's connection hears for a pub/sub object, and where that is kept."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import redis
from redis.asyncio.client import PubSub as RedisPubSub

from cachemesh._client.subscribing import ListenerBase, MailboxBase, changes
from cachemesh.core.errors import UnsupportedCommandError
from cachemesh.core.planning.subscriptions import (
    CONFIRM_SECONDS,
    CONFIRMATIONS,
    Subscriptions,
    require_message,
)
from cachemesh.transport import redis_py
from cachemesh.transport.aio.instance import in_time, seen
from cachemesh.transport.aio.shard import ShardClient

MOST_WAITING = 1000
"""Messages, after which listeners read no more until some are asked for."""


class Mailbox(MailboxBase["Listener"]):
    """The messages that listeners have heard and nobody has asked for yet.

    While there are many, listeners do not read on. Then the server holds what is published, and
    drops the connection at its ``client-output-buffer-limit``, as that of any slow client.
    """

    def __init__(self, listeners: Mapping[str, Listener]) -> None:
        super().__init__(listeners)
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    def put(self, message: dict[str, Any]) -> None:
        """Add a message behind the others, and end `wait`."""
        super().put(message)
        self.wake()

    async def take(self) -> dict[str, Any] | None:
        """Return the oldest message; None if there is none though the event loop had a turn."""
        if not self._messages:
            await asyncio.sleep(0)
            if not self._messages:
                return None
        message = self._messages.popleft()
        if len(self._messages) < MOST_WAITING:
            self._room.set()
        return message

    def moved(self) -> Mailbox:
        """Return a mailbox with the same messages, for another event loop."""
        other = Mailbox(self._listeners)
        other._messages.extend(self._messages)
        return other

    def clear(self) -> None:
        """Forget all messages; listeners read on, and `wait` ends."""
        super().clear()
        self.make_room()
        self.wake()

    def expect(self) -> None:
        """Have the next `put` or `wake` end `wait`, and none before."""
        self._news.clear()

    def wake(self) -> None:
        """End `wait`: a connection is lost, and the subscriptions are to be settled anew."""
        self._news.set()

    async def wait(self, seconds: float) -> None:
        """Wait for a message, for so many seconds at most."""
        try:
            await in_time(self._news.wait(), seconds)
        except TimeoutError:
            return

    async def wait_for_room(self) -> None:
        """Return once there is room for more, or `make_room` was called."""
        if len(self._messages) >= MOST_WAITING:
            self._room.clear()
            await self._room.wait()

    def make_room(self) -> None:
        """Make room so that listeners go on reading.

        A confirmation may come after messages still unread.
        """
        self._room.set()


class _Inner(RedisPubSub):
    """redis-py's subscriptions over one connection; takes nothing that is no message."""

    async def parse_response(self, block: bool = True, timeout: float = 0) -> Any:
        parse: Any = super().parse_response  # untyped in redis-py
        if block:  # some releases of redis-py would wait for as long as for a reply
            block, timeout = False, math.inf
        return require_message(await parse(block, timeout))

    async def _execute(self, conn: Any, command: Any, *args: Any, **options: Any) -> Any:
        """redis-py's connects anew before it tells that a connection is lost; that is for
        `Listener.settle` to do, where the master is then."""
        return await command(*args, **options)


class Listener(ListenerBase[ShardClient]):
    """What is subscribed to on one shard, and the task that hears it."""

    def __init__(self, shard: ShardClient, mailbox: Mailbox) -> None:
        super().__init__(shard, mailbox)
        self._changing = False
        self._task: asyncio.Task[Exception] | None = None
        self._confirmed: deque[object] = deque()
        self._news = asyncio.Event()

    def must_change(self, wanted: Subscriptions) -> bool:
        """Return whether something else is listened to than ``wanted``, or nothing any more."""
        return not self.sound or wanted != self.has

    @property
    def sound(self) -> bool:
        """Whether the connection leads to the master, and was not lost."""
        heard = self._task is not None and not self._task.done()
        return heard and self.shard.master == self._master

    async def settle(self, wanted: Subscriptions) -> None:
        """Subscribe and unsubscribe until ``has`` is ``wanted``, confirmed by the server.

        Raises:
            ShardUnavailableError: it cannot be reached.
            redis.ResponseError: the server refuses; the next call begins anew.
        """
        if not self.sound:
            await self.close()
            self._master = self.shard.master
            self.inner = _Inner(self.shard.pool)
        self._changing = True
        self._mailbox.make_room()
        try:
            unconfirmed = 0
            for command, names in changes(self.has, wanted):
                await getattr(self.inner, command)(*names)
                unconfirmed += len(names)
            if self._task is None:
                self._task = asyncio.create_task(self._hear(self.inner))
            await in_time(self._await_confirmed(unconfirmed), CONFIRM_SECONDS)
            self.has = wanted
        except (OSError, *redis_py.BROKEN, asyncio.TimeoutError) as error:
            self.shard.raise_unavailable(error)
        finally:
            self._changing = False
            if self.has is not wanted:
                await self.close()  # nobody knows what it listens to

    async def _await_confirmed(self, count: int) -> None:
        while len(self._confirmed) < count:
            if self._task is not None and self._task.done():
                raise self._task.result()
            self._news.clear()
            await self._news.wait()
        self._confirmed.clear()

    async def _hear(self, inner: Any) -> Exception:
        """Hand on what comes until the connection breaks or the server refuses; then, why."""
        try:
            while True:
                if not self._changing:
                    await self._mailbox.wait_for_room()
                message = await inner.get_message(timeout=None)
                if message is not None and message["type"] in CONFIRMATIONS:
                    self._confirmed.append(message)
                    self._news.set()
                elif message is not None:
                    self._mailbox.put(message)
        except (*redis_py.BROKEN, redis.ResponseError, OSError) as error:
            self._mailbox.wake()
            return error  # found out and mended when the subscriptions are settled next
        finally:
            self._news.set()

    async def close(self) -> None:
        """Let go of the connection; nothing is subscribed to then."""
        inner, self.inner = self.inner, None
        task, self._task = self._task, None
        self.has = Subscriptions()
        self._confirmed.clear()
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if inner is not None:
            if inner.connection is not None:
                await inner.connection.disconnect()
            await inner.aclose()

    def abandon(self) -> None:
        """Close soon: nobody is left who could ask for messages, or wait for that."""
        loop = None if self._task is None else self._task.get_loop()
        if loop is None or self.shard.forked:
            return
        if loop.is_closed():
            redis_py.disown(self.connection)
        else:
            loop.call_soon_threadsafe(_close_soon, self)


def require_shard_channels() -> None:
    """Refuse shard channels where redis-py has none for asyncio.

    Raises:
        UnsupportedCommandError: redis-py is older than 8.0.
    """
    if not hasattr(RedisPubSub, "ssubscribe"):
        raise UnsupportedCommandError(
            "Shard channels on asyncio need redis-py 8.0 or later; upgrade redis, or use "
            "subscribe and publish"
        )


_closing: set[asyncio.Task[None]] = set()
"""Held until they are done, which the loop itself does not do."""


def _close_soon(listener: Listener) -> None:
    task = asyncio.get_running_loop().create_task(listener.close())
    _closing.add(task)
    task.add_done_callback(_closing.discard)
    task.add_done_callback(seen)
