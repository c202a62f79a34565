"""Pub/sub over shards, for asyncio; see `cachemesh.pubsub`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import redis
from redis.asyncio.client import PubSub as RedisPubSub

from cachemesh.core.errors import ShardUnavailableError, UnsupportedCommandError
from cachemesh.core.subscriptions import (
    CONFIRM_SECONDS,
    CONFIRMATIONS,
    KINDS,
    LOOK_STEP,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Handler,
    Subscriptions,
    require_handlers,
    require_message,
)
from cachemesh.transport import adapter
from cachemesh.transport.aio import Node

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

    from cachemesh.asyncio.client import CacheMesh


class PubSub:
    """As `cachemesh.pubsub.PubSub`, for asyncio.

    Each shard that is listened to has a task that reads its connection.
    """

    def __init__(self, mesh: CacheMesh, ignore_subscribe_messages: bool = False) -> None:
        self._mesh = mesh
        self._ignore = ignore_subscribe_messages
        self._wanted = Subscriptions()
        self._listeners: dict[str, _Listener] = {}
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._settling = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Unsubscribe from everything and let go of the connections."""
        listeners, self._listeners = self._listeners, {}
        self._wanted = Subscriptions()
        self._messages = asyncio.Queue()
        for listener in listeners.values():
            await listener.close()

    close = reset = aclose

    @property
    def subscribed(self) -> bool:
        """Whether anything is subscribed to."""
        return bool(self._wanted) or not self._messages.empty()

    @property
    def channels(self) -> dict[bytes, Handler | None]:
        """Channels subscribed to, with their handlers."""
        return dict(self._wanted.channels)

    @property
    def patterns(self) -> dict[bytes, Handler | None]:
        """Patterns subscribed to, with their handlers."""
        return dict(self._wanted.patterns)

    @property
    def shard_channels(self) -> dict[bytes, Handler | None]:
        """Shard channels subscribed to, with their handlers."""
        return dict(self._wanted.shard_channels)

    @property
    def connection(self) -> Any:
        """redis-py's connection on the first shard that is listened to; None without one."""
        return next((li.connection for li in self._listeners.values()), None)

    async def subscribe(self, *names: Any, **handlers: Handler) -> None:
        """Listen to channels; a handler is called with each message instead of its return."""
        await self._add("channels", names, handlers)

    async def psubscribe(self, *names: Any, **handlers: Handler) -> None:
        """Listen to all channels that match patterns, keyspace events among them."""
        await self._add("patterns", names, handlers)

    async def ssubscribe(
        self, *names: Any, target_node: object = None, **handlers: Handler
    ) -> None:
        """Listen to shard channels (SPUBLISH); ``target_node`` is not used.

        Raises:
            cachemesh.UnsupportedCommandError: redis-py's asyncio has none of this before 8.0.
        """
        if not hasattr(RedisPubSub, "ssubscribe"):
            raise UnsupportedCommandError(
                "Shard channels on asyncio need redis-py 8.0 or later; upgrade redis, or use "
                "subscribe and publish"
            )
        await self._add("shard_channels", names, handlers)

    async def unsubscribe(self, *names: Any) -> None:
        """Listen no more to these channels, or to any."""
        await self._remove("channels", names)

    async def punsubscribe(self, *names: Any) -> None:
        """Listen no more to these patterns, or to any."""
        await self._remove("patterns", names)

    async def sunsubscribe(self, *names: Any, target_node: object = None) -> None:
        """Listen no more to these shard channels, or to any."""
        await self._remove("shard_channels", names)

    async def get_message(
        self, ignore_subscribe_messages: bool = False, timeout: float | None = 0.0
    ) -> dict[str, Any] | None:
        """The next message, or None if there is none within ``timeout`` seconds (None: for ever).

        Raises:
            cachemesh.ShardUnavailableError: a shard that is listened to cannot be reached; the
                next call tries again.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        ignore = ignore_subscribe_messages or self._ignore
        while True:
            await self._settle()
            left = LOOK_STEP if deadline is None else deadline - loop.time()
            message = await self._next(min(left, LOOK_STEP))
            if message is not None and not (ignore and message["type"] in CONFIRMATIONS):
                return message
            if message is None and deadline is not None and loop.time() >= deadline:
                return None

    async def ping(self, message: str | bytes | None = None) -> bool:
        """Ask each shard that is listened to for a message of type ``pong``.

        Raises:
            cachemesh.ShardUnavailableError: one of them cannot be reached.
        """
        await self._settle()
        for listener in self._listeners.values():
            await listener.ping(message)
        return True

    async def _next(self, seconds: float) -> dict[str, Any] | None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return None if self._messages.empty() else self._messages.get_nowait()
        try:
            return await asyncio.wait_for(self._messages.get(), seconds)
        except asyncio.TimeoutError:
            return None

    async def listen(self) -> AsyncIterator[dict[str, Any]]:
        """Messages as they come, for as long as anything is subscribed to."""
        while self.subscribed:
            message = await self.get_message(timeout=None)
            if message is not None:
                yield message

    async def run(
        self,
        *,
        exception_handler: Callable[[BaseException, PubSub], Any] | None = None,
        poll_timeout: float = 1.0,
    ) -> None:
        """Call the handlers until cancelled; every subscription must have one.

        Raises:
            redis.PubSubError: one has none.
        """
        require_handlers(self._wanted)
        while True:
            try:
                await self.get_message(True, poll_timeout)
            except (redis.RedisError, OSError) as error:
                if exception_handler is None:
                    raise
                done = exception_handler(error, self)
                if asyncio.iscoroutine(done):
                    await done
            await asyncio.sleep(0)

    async def _add(self, kind: str, names: tuple[Any, ...], handlers: dict[str, Handler]) -> None:
        given = self._wanted.add(kind, names, handlers, self._mesh.key_bytes)
        await self._settle()
        self._confirm(SUBSCRIBE[kind], given)

    async def _remove(self, kind: str, names: tuple[Any, ...]) -> None:
        gone = self._wanted.remove(kind, names, self._mesh.key_bytes)
        try:
            await self._settle()
        except ShardUnavailableError:
            pass  # a lost connection listens to nothing; the rest is settled with the next call
        self._confirm(UNSUBSCRIBE[kind], gone)

    def _confirm(self, word: str, names: Any) -> None:
        client: Any = self._mesh  # untyped in redis-py
        decode = client.get_encoder().decode
        for name in names:
            self._messages.put_nowait(
                {"type": word, "pattern": None, "channel": decode(name), "data": len(self._wanted)}
            )

    async def _settle(self) -> None:
        """Let each shard's connection listen to what it shall, after any change."""
        async with self._settling:
            routes = await self._mesh.routes()
            for shard in self._listeners.keys() - routes.nodes.keys():
                await self._listeners.pop(shard).close()
            for shard, node in routes.nodes.items():
                wanted = self._wanted.on(shard, routes.placement)
                listener = self._listeners.get(shard)
                if listener is None:
                    if not wanted:
                        continue
                    listener = self._listeners[shard] = _Listener(node, self._messages.put_nowait)
                if not wanted:
                    await self._listeners.pop(shard).close()
                elif listener.must_change(wanted):
                    await listener.settle(wanted)


class _Inner(RedisPubSub):
    """redis-py's subscriptions over one connection; takes nothing that is no message."""

    async def parse_response(self, block: bool = True, timeout: float = 0) -> Any:
        parse: Any = super().parse_response  # untyped in redis-py
        return require_message(await parse(block, timeout))


class _Listener:
    """What is subscribed to on one shard, and the task that hears it."""

    def __init__(self, node: Node, hand_on: Callable[[dict[str, Any]], None]) -> None:
        self.has = Subscriptions()
        self._node = node
        self._hand_on = hand_on
        self._master = node.master
        self._inner: Any = None
        self._task: asyncio.Task[Exception] | None = None
        self._confirmed: deque[object] = deque()
        self._news = asyncio.Event()

    def must_change(self, wanted: Subscriptions) -> bool:
        """Whether something else is listened to than shall be, or nothing any more."""
        lost = self._task is None or self._task.done()
        return lost or self._node.master != self._master or wanted != self.has

    async def settle(self, wanted: Subscriptions) -> None:
        """Subscribe and unsubscribe until ``has`` is ``wanted``, confirmed by the server.

        Raises:
            ShardUnavailableError: it cannot be reached.
        """
        if self._task is None or self._task.done() or self._node.master != self._master:
            await self.close()
            self._master = self._node.master
            self._inner = _Inner(self._node.pool)
        try:
            changes = 0
            for kind in KINDS:
                changes += await self._change(kind, wanted)
            if self._task is None:
                self._task = asyncio.create_task(self._hear(self._inner))
            await asyncio.wait_for(self._await_confirmed(changes), CONFIRM_SECONDS)
        except (OSError, *adapter.BROKEN, asyncio.TimeoutError) as error:
            await self.close()
            raise self._node.unavailable(None, error) from error
        except redis.ResponseError:
            await self.close()  # refused; what was subscribed to before is again with the next call
            raise
        self.has = wanted

    async def _change(self, kind: str, wanted: Subscriptions) -> int:
        new = wanted.missing_from(self.has, kind)
        if new:
            names, handlers = adapter.subscription_args(new)
            await getattr(self._inner, SUBSCRIBE[kind])(*names, **handlers)
        gone = self.has.missing_from(wanted, kind)
        if gone:
            await getattr(self._inner, UNSUBSCRIBE[kind])(*gone)
        return len(new) + len(gone)

    async def _await_confirmed(self, changes: int) -> None:
        while len(self._confirmed) < changes:
            if self._task is not None and self._task.done():
                raise self._task.result()
            self._news.clear()
            await self._news.wait()
        self._confirmed.clear()

    async def _hear(self, inner: Any) -> Exception:
        """Hand on what comes until the connection breaks or the server refuses; then, why."""
        try:
            while True:
                message = await inner.get_message(timeout=None)
                if message is not None and message["type"] in CONFIRMATIONS:
                    self._confirmed.append(message)
                    self._news.set()
                elif message is not None:
                    self._hand_on(message)
        except (*adapter.BROKEN, redis.ResponseError, OSError) as error:
            return error  # found out and mended when the subscriptions are settled next
        finally:
            self._news.set()

    async def ping(self, message: str | bytes | None) -> None:
        try:
            await self._inner.ping(message)
        except (OSError, *adapter.BROKEN) as error:
            await self.close()
            raise self._node.unavailable(None, error) from error

    @property
    def connection(self) -> Any:
        """redis-py's connection, None without one."""
        return self._inner and self._inner.connection

    async def close(self) -> None:
        """Let go of the connection; nothing is subscribed to then."""
        inner, self._inner = self._inner, None
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
