"""Pub/sub over shards: one redis-py subscription connection for each shard that is listened to."""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import redis
from redis.client import PubSub as RedisPubSub
from redis.client import PubSubWorkerThread

from cachemesh.core.errors import ShardUnavailableError
from cachemesh.core.routing import Routes
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
from cachemesh.transport.sync import Node

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

    from cachemesh.client import CacheMesh


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
        self._listeners: dict[str, _Listener] = {}
        self._routes: Routes[Node] | None = None
        self._confirmed: deque[dict[str, Any]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_listeners"):
            self.close()

    def close(self) -> None:
        """Unsubscribe from everything and let go of the connections."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners = {}
        self._wanted = Subscriptions()
        self._confirmed.clear()
        self._routes = None

    reset = close

    @property
    def subscribed(self) -> bool:
        """Whether anything is subscribed to."""
        return bool(self._wanted) or bool(self._confirmed)

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

        Raises:
            cachemesh.ShardUnavailableError: a shard that is listened to cannot be reached; the
                next call tries again.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        ignore = ignore_subscribe_messages or self._ignore
        while True:
            while self._confirmed:
                confirmation = self._confirmed.popleft()
                if not ignore:
                    return confirmation
            self._settle()
            for listener in list(self._listeners.values()):
                message = listener.next_message()
                if message is not None:
                    return message
            left = LOOK_STEP if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return None
            self._await_input(min(left, LOOK_STEP))

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
        self._settle()
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
        given = self._wanted.add(kind, names, handlers, self._mesh.key_bytes)
        self._settle()
        self._confirm(SUBSCRIBE[kind], given)

    def _remove(self, kind: str, names: tuple[Any, ...]) -> None:
        gone = self._wanted.remove(kind, names, self._mesh.key_bytes)
        try:
            self._settle()
        except ShardUnavailableError:
            pass  # a lost connection listens to nothing; the rest is settled with the next call
        self._confirm(UNSUBSCRIBE[kind], gone)

    def _confirm(self, word: str, names: Any) -> None:
        decode: Any = self._mesh.get_encoder().decode  # untyped in redis-py
        for name in names:
            self._confirmed.append(
                {"type": word, "pattern": None, "channel": decode(name), "data": len(self._wanted)}
            )

    def _settle(self) -> None:
        """Let each shard's connection listen to what it shall, after any change."""
        routes = self._mesh.routes
        if routes is not self._routes:
            for shard in self._listeners.keys() - routes.nodes.keys():
                self._listeners.pop(shard).close()
            self._routes = routes
        for shard, node in routes.nodes.items():
            wanted = self._wanted.on(shard, routes.placement)
            listener = self._listeners.get(shard)
            if listener is None:
                if not wanted:
                    continue
                listener = self._listeners[shard] = _Listener(node)
            if not wanted:
                self._listeners.pop(shard).close()
            elif wanted != listener.has:
                listener.settle(wanted)

    def _await_input(self, seconds: float) -> None:
        with selectors.DefaultSelector() as selector:
            for listener in self._listeners.values():
                if (sock := listener.socket()) is not None:
                    selector.register(sock, selectors.EVENT_READ)
            selector.select(seconds)


class _Inner(RedisPubSub):
    """redis-py's subscriptions over one connection; takes nothing that is no message.

    redis-py itself drops the connection when a message has not come whole within ``timeout``.
    """

    def parse_response(self, block: bool = True, timeout: float = 0) -> Any:
        self.check_health()
        response = adapter.receive(self.connection, timeout)
        if self.is_health_check_response(response):
            self.health_check_response_counter -= 1
            return None
        return require_message(response)


class _Listener:
    """What is subscribed to on one shard, and the connection that hears it."""

    def __init__(self, node: Node) -> None:
        self.has = Subscriptions()
        self._node = node
        self._master = node.master
        self._inner: Any = None
        self._heard: deque[dict[str, Any]] = deque()

    def settle(self, wanted: Subscriptions) -> None:
        """Subscribe and unsubscribe until ``has`` is ``wanted``, confirmed by the server.

        Raises:
            ShardUnavailableError: it cannot be reached.
        """
        if self._inner is None:
            self._master = self._node.master
            self._inner = _Inner(self._node.pool)
        try:
            changes = 0
            for kind in KINDS:
                changes += self._change(kind, wanted)
            deadline = time.monotonic() + CONFIRM_SECONDS
            while changes:
                if time.monotonic() > deadline:
                    raise redis.TimeoutError("a subscription was not confirmed in time")
                message = self._receive(LOOK_STEP)
                if message is not None and message["type"] in CONFIRMATIONS:
                    changes -= 1
                elif message is not None:
                    self._heard.append(message)
        except adapter.BROKEN as error:
            self.close()
            raise self._node.unavailable(None, error) from error
        self.has = wanted

    def _change(self, kind: str, wanted: Subscriptions) -> int:
        new = wanted.missing_from(self.has, kind)
        if new:
            names, handlers = adapter.subscription_args(new)
            getattr(self._inner, SUBSCRIBE[kind])(*names, **handlers)
        gone = self.has.missing_from(wanted, kind)
        if gone:
            getattr(self._inner, UNSUBSCRIBE[kind])(*gone)
        return len(new) + len(gone)

    def next_message(self) -> dict[str, Any] | None:
        """A message that is there already. A lost connection is found out here, and mended when
        the subscriptions are settled next."""
        if self._heard:
            return self._heard.popleft()
        if self._inner is not None and self._node.master != self._master:
            self.close()  # the master is elsewhere now
        try:
            while self._inner is not None and self._inner.connection.can_read(timeout=0):
                message = self._receive(0)
                if message is None:
                    break
                if message["type"] not in CONFIRMATIONS:
                    return message
        except adapter.BROKEN:
            self.close()
        return None

    def _receive(self, timeout: float) -> dict[str, Any] | None:
        message: dict[str, Any] | None = self._inner.get_message(timeout=timeout)
        return message

    def ping(self, message: str | bytes | None) -> None:
        try:
            self._inner.ping(message)
        except adapter.BROKEN as error:
            self.close()
            raise self._node.unavailable(None, error) from error

    @property
    def connection(self) -> Any:
        """redis-py's connection, None without one."""
        return self._inner and self._inner.connection

    def socket(self) -> Any:
        """What to wait on for input; None without a connection."""
        connection = self.connection
        return adapter.socket_of(connection) if connection else None

    def close(self) -> None:
        """Let go of the connection; nothing is subscribed to then."""
        inner, self._inner = self._inner, None
        self.has = Subscriptions()
        if inner is not None:
            connection = inner.connection
            if connection is not None:
                connection.disconnect()  # UNSUBSCRIBE replies must not be left to the pool
            inner.close()
