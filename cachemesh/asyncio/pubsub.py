"""Pub/sub over shards: one redis-py subscription connection for each shard that is listened to."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator

# sync: from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import redis

from cachemesh.asyncio.handler_loop import HandlerLoop
from cachemesh.asyncio.listener import Listener, Mailbox, require_shard_channels
from cachemesh.core.errors import ShardUnavailableError
from cachemesh.core.planning.subscriptions import (
    CONFIRMATIONS,
    SUBSCRIBE,
    TOPOLOGY_CHECK_SECONDS,
    UNSUBSCRIBE,
    Handler,
    Subscriptions,
)
from cachemesh.transport import redis_py
from cachemesh.transport.unavailable import closed_while_listening

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

    from cachemesh.asyncio.client import CacheMesh


class PubSub(HandlerLoop):
    """As `redis.asyncio.client.PubSub`, over the shards of a pool.

    A channel is listened to on the shard that its name hashes to, which is where PUBLISH sends
    it; patterns are listened to on all shards. After a failover or a resize the subscriptions move
    by themselves; what is published meanwhile is lost, as pub/sub promises no more.

    Args:
        mesh: the client.
        ignore_subscribe_messages: do not return confirmations.
    """

    def __init__(self, mesh: CacheMesh, ignore_subscribe_messages: bool = False) -> None:
        self._mesh, self._core = mesh, mesh._core
        self._ignore = ignore_subscribe_messages
        self._wanted = Subscriptions()
        self._listeners: dict[str, Listener] = {}
        self._mailbox = Mailbox(self._listeners)
        self._settling = asyncio.Lock()  # asyncio
        # sync: self._settling = nullcontext()  # a subscription is one thread's, as redis-py's
        self._loop: asyncio.AbstractEventLoop | None = None  # asyncio
        client: Any = mesh  # untyped in redis-py
        encoder = client.get_encoder()
        self._encode, self._decode = encoder.encode, encoder.decode
        self._closings = self._core.closings

    def __del__(self) -> None:
        for listener in getattr(self, "_listeners", {}).values():
            listener.abandon()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Unsubscribe from everything and let go of the connections."""
        self._wanted = Subscriptions()
        await self._disconnect()
        self._mailbox.clear()

    close = reset = aclose  # asyncio
    # sync: reset = close

    async def _disconnect(self) -> None:
        self._move()  # asyncio
        listeners = list(self._listeners.values())
        self._listeners.clear()
        for listener in listeners:
            await listener.close()

    if True:  # asyncio

        def _move(self) -> None:
            """Go on in the loop that runs now, as in a forked child: tasks cannot leave theirs."""
            loop, former = asyncio.get_running_loop(), self._loop
            self._loop = loop
            if former in (loop, None):
                return
            for listener in self._listeners.values():
                listener.abandon()
            self._listeners.clear()
            self._mailbox, self._settling = self._mailbox.moved(), asyncio.Lock()

    @property
    def subscribed(self) -> bool:
        """Whether anything is subscribed to."""
        return bool(self._wanted) or bool(self._mailbox)

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
            cachemesh.UnsupportedCommandError: redis-py is too old for that.
        """
        require_shard_channels()
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
        """Return the next message; None if there is none within ``timeout`` (None: for ever).

        None is returned as well after a message that has a handler, which was called.

        Args:
            ignore_subscribe_messages: do not return confirmations.
            timeout: in seconds.

        Raises:
            cachemesh.ShardUnavailableError: a shard that is listened to cannot be reached, and
                there is no message of another, or the client was closed; the next call tries again.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        ignore = ignore_subscribe_messages or self._ignore
        while True:
            if self._closings != self._core.closings:
                self._closings = self._core.closings
                await self._disconnect()
                raise closed_while_listening()
            self._mailbox.expect()
            lost = await self._settle()
            message = await self._mailbox.take()
            if message is None:
                if lost is not None:
                    raise lost
                left = TOPOLOGY_CHECK_SECONDS if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    return None
                await self._mailbox.wait(min(left, TOPOLOGY_CHECK_SECONDS))
            elif not (ignore and message["type"] in CONFIRMATIONS):
                handler = self._wanted.handler_of(message, self._encode)
                if handler is None:
                    return message
                done = handler(message)  # asyncio
                if inspect.isawaitable(done):  # asyncio
                    await done  # asyncio
                # sync: handler(message)
                return None

    async def get_sharded_message(
        self,
        ignore_subscribe_messages: bool = False,
        timeout: float | None = 0.0,
        target_node: object = None,
    ) -> dict[str, Any] | None:
        """As `get_message`; ``target_node`` is not used."""
        return await self.get_message(ignore_subscribe_messages, timeout)

    async def ping(self, message: str | bytes | None = None) -> bool:
        """Ask each shard that is listened to for a message of type ``pong``.

        Raises:
            cachemesh.ShardUnavailableError: one of them cannot be reached.
        """
        await self._settled()
        for listener in self._listeners.values():
            try:
                await listener.inner.ping(message)
            except (OSError, *redis_py.BROKEN) as error:
                await listener.close()
                listener.shard.raise_unavailable(error)
        return True

    async def listen(self) -> AsyncIterator[dict[str, Any]]:
        """Yield messages as they come, for as long as anything is subscribed to."""
        while self.subscribed:
            message = await self.get_message(timeout=None)
            if message is not None:
                yield message

    async def _add(self, kind: str, names: tuple[Any, ...], handlers: dict[str, Handler]) -> None:
        if not self._wanted:
            self._closings = self._core.closings
        given = self._wanted.add(kind, names, handlers, self._mesh.key_bytes)
        await self._settled()
        self._confirm(SUBSCRIBE[kind], given)

    async def _remove(self, kind: str, names: tuple[Any, ...]) -> None:
        gone = self._wanted.remove(kind, names, self._mesh.key_bytes)
        await self._settle()  # a lost connection listens to nothing; the next call settles the rest
        self._confirm(UNSUBSCRIBE[kind], gone)

    def _confirm(self, word: str, names: Any) -> None:
        for name in names:
            channel = self._decode(name)
            self._mailbox.put(
                {"type": word, "pattern": None, "channel": channel, "data": len(self._wanted)}
            )

    async def _settled(self) -> None:
        """As `_settle`; raises why a shard cannot be reached."""
        lost = await self._settle()
        if lost is not None:
            raise lost

    async def _settle(self) -> ShardUnavailableError | None:
        """Let each shard's connection listen to what it shall, after any change.

        Returns:
            Why a shard cannot be reached; the others are settled all the same.

        Raises:
            redis.ResponseError: a subscription is refused.
        """
        lost = None
        self._move()  # asyncio
        async with self._settling:
            route_table = await self._core.loaded()
            for name, listener in list(self._listeners.items()):
                shard = route_table.shards.get(name)
                if shard is not None and shard.identity is listener.shard.identity:
                    listener.shard = shard
                else:
                    await self._listeners.pop(name).close()  # asyncio
                    # sync: self._leave(name)
            for name, shard in route_table.shards.items():
                wanted = self._wanted.on_shard(name, route_table.placement)
                if not wanted:
                    if name in self._listeners:
                        await self._leave(name)
                    continue
                if name not in self._listeners:
                    self._listeners[name] = Listener(shard, self._mailbox)
                if self._listeners[name].must_change(wanted):
                    try:
                        await self._listeners[name].settle(wanted)
                    except ShardUnavailableError as error:
                        lost = lost or error
        return lost

    async def _leave(self, name: str) -> None:
        """Unsubscribe from all on a shard, hear what was sent before that, and close."""
        listener = self._listeners.pop(name)
        if listener.sound:
            try:
                await listener.settle(Subscriptions())
            except (ShardUnavailableError, redis.ResponseError):
                return  # closed, so nothing is subscribed to
        await listener.close()
