"""Pub/sub over shards: one redis-py subscription connection for each shard that is listened to."""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from redis.client import PubSubWorkerThread

from cachemesh.core.errors import ShardUnavailableError
from cachemesh.core.placement.route_table import Routes
from cachemesh.core.planning.subscriptions import (
    CONFIRMATIONS,
    LOOK_STEP,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Handler,
    Subscriptions,
    require_handlers,
)
from cachemesh.sync.listener import Listener
from cachemesh.transport.sync.shard import ShardClient
from cachemesh.transport.unavailable import closed_while_listening

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

    from cachemesh.sync.client import CacheMesh


class PubSub:
    """As `redis.client.PubSub`, over the shards of a pool.

    A channel is listened to on the shard that its name hashes to, which is where PUBLISH sends
    it; patterns are listened to on all shards. After a failover or a resize the subscriptions move
    by themselves; what is published meanwhile is lost, as pub/sub promises no more.

    Args:
        mesh: the client.
        ignore_subscribe_messages: do not return confirmations.
    """

    def __init__(self, mesh: CacheMesh, ignore_subscribe_messages: bool = False) -> None:
        self._mesh = mesh
        self._ignore = ignore_subscribe_messages
        self._wanted = Subscriptions()
        self._listeners: dict[str, Listener] = {}
        self._routes: Routes[ShardClient] | None = None
        self._ready: deque[dict[str, Any]] = deque()
        encoder: Any = mesh.get_encoder()  # untyped in redis-py
        self._encode, self._decode = encoder.encode, encoder.decode
        self._closings = mesh._core.closings

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_listeners"):
            self.close()

    def close(self) -> None:
        """Unsubscribe from everything and let go of the connections."""
        self._disconnect()
        self._wanted = Subscriptions()
        self._ready.clear()

    reset = close

    def _disconnect(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        self._listeners = {}
        self._routes = None

    @property
    def subscribed(self) -> bool:
        """Whether anything is subscribed to."""
        return bool(self._wanted) or bool(self._ready)

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

    def subscribe(self, *names: Any, **handlers: Handler) -> None:
        """Listen to channels; a handler is called with each message instead of its return."""
        self._add("channels", names, handlers)

    def psubscribe(self, *names: Any, **handlers: Handler) -> None:
        """Listen to all channels that match patterns, keyspace events among them."""
        self._add("patterns", names, handlers)

    def ssubscribe(self, *names: Any, target_node: object = None, **handlers: Handler) -> None:
        """Listen to shard channels (SPUBLISH); ``target_node`` is not used."""
        self._add("shard_channels", names, handlers)

    def unsubscribe(self, *names: Any) -> None:
        """Listen no more to these channels, or to any."""
        self._remove("channels", names)

    def punsubscribe(self, *names: Any) -> None:
        """Listen no more to these patterns, or to any."""
        self._remove("patterns", names)

    def sunsubscribe(self, *names: Any, target_node: object = None) -> None:
        """Listen no more to these shard channels, or to any."""
        self._remove("shard_channels", names)

    def get_message(
        self, ignore_subscribe_messages: bool = False, timeout: float | None = 0.0
    ) -> dict[str, Any] | None:
        """The next message, or None if there is none within ``timeout`` seconds (None: for ever).

        None as well after a message for which there is a handler; that has been called.

        Raises:
            cachemesh.ShardUnavailableError: a shard that is listened to cannot be reached, and
                there is no message of another, or the client was closed; the next call tries again.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        ignore = ignore_subscribe_messages or self._ignore
        while True:
            if self._closings != self._mesh._core.closings:
                self._closings = self._mesh._core.closings
                self._disconnect()
                raise closed_while_listening()
            lost = self._settle()
            message = self._next()
            if message is None:
                if lost is not None:
                    raise lost
                left = LOOK_STEP if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    return None
                self._await_input(min(left, LOOK_STEP))
            elif not (ignore and message["type"] in CONFIRMATIONS):
                handler = self._wanted.handler_of(message, self._encode)
                if handler is None:
                    return message
                handler(message)
                return None

    def _next(self) -> dict[str, Any] | None:
        """A message that is there."""
        if self._ready:
            return self._ready.popleft()
        heard = (listener.next_message() for listener in list(self._listeners.values()))
        return next((message for message in heard if message is not None), None)

    def get_sharded_message(
        self,
        ignore_subscribe_messages: bool = False,
        timeout: float | None = 0.0,
        target_node: object = None,
    ) -> dict[str, Any] | None:
        """As `get_message`; ``target_node`` is not used."""
        return self.get_message(ignore_subscribe_messages, timeout)

    def ping(self, message: str | bytes | None = None) -> bool:
        """Ask each shard that is listened to for a message of type ``pong``.

        Raises:
            cachemesh.ShardUnavailableError: one of them cannot be reached.
        """
        self._settled()
        for listener in self._listeners.values():
            listener.ping(message)
        return True

    def listen(self) -> Iterator[dict[str, Any]]:
        """Messages as they come, for as long as anything is subscribed to."""
        while self.subscribed:
            message = self.get_message(timeout=None)
            if message is not None:
                yield message

    def run_in_thread(
        self,
        sleep_time: float = 0.0,
        daemon: bool = False,
        exception_handler: Callable[[BaseException, Any, Any], None] | None = None,
    ) -> PubSubWorkerThread:
        """A thread that calls the handlers; every subscription must have one.

        Raises:
            redis.PubSubError: one has none.
        """
        require_handlers(self._wanted)
        make: Any = PubSubWorkerThread  # untyped in redis-py
        thread: PubSubWorkerThread = make(
            self, sleep_time, daemon=daemon, exception_handler=exception_handler
        )
        thread.start()
        return thread

    def _add(self, kind: str, names: tuple[Any, ...], handlers: dict[str, Handler]) -> None:
        if not self._wanted:
            self._closings = self._mesh._core.closings
        given = self._wanted.add(kind, names, handlers, self._mesh.key_bytes)
        self._settled()
        self._confirm(SUBSCRIBE[kind], given)

    def _remove(self, kind: str, names: tuple[Any, ...]) -> None:
        gone = self._wanted.remove(kind, names, self._mesh.key_bytes)
        self._settle()  # a lost connection listens to nothing; the next call settles the rest
        self._confirm(UNSUBSCRIBE[kind], gone)

    def _confirm(self, word: str, names: Any) -> None:
        for listener in self._listeners.values():
            self._ready.extend(listener.heard())  # which came before
        for name in names:
            channel = self._decode(name)
            self._ready.append(
                {"type": word, "pattern": None, "channel": channel, "data": len(self._wanted)}
            )

    def _settled(self) -> None:
        """As `_settle`; raises why a shard cannot be reached."""
        lost = self._settle()
        if lost is not None:
            raise lost

    def _settle(self) -> ShardUnavailableError | None:
        """Let each shard's connection listen to what it shall, after any change.

        Returns:
            Why a shard cannot be reached; the others are settled all the same.

        Raises:
            redis.ResponseError: a subscription is refused.
        """
        lost = None
        routes = self._mesh.routes()
        if routes is not self._routes:
            for shard, listener in list(self._listeners.items()):
                if routes.nodes.get(shard) is not listener.node:
                    self._let_go(shard)
            self._routes = routes
        for shard, node in routes.nodes.items():
            wanted = self._wanted.on(shard, routes.placement)
            if not wanted:
                self._let_go(shard)
                continue
            if shard not in self._listeners:
                self._listeners[shard] = Listener(node)
            if wanted != self._listeners[shard].has:
                try:
                    self._listeners[shard].settle(wanted)
                except ShardUnavailableError as error:
                    lost = lost or error
        return lost

    def _let_go(self, shard: str) -> None:
        listener = self._listeners.pop(shard, None)
        if listener is not None:
            listener.leave()
            self._ready.extend(listener.heard())

    def _await_input(self, seconds: float) -> None:
        with selectors.DefaultSelector() as selector:
            for listener in self._listeners.values():
                if (sock := listener.socket()) is not None:
                    selector.register(sock, selectors.EVENT_READ)
            selector.select(seconds)
