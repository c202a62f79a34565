"""What one shard's connection hears for a pub/sub object."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import redis
from redis.client import PubSub as RedisPubSub

from cachemesh.core.errors import ShardUnavailableError
from cachemesh.core.planning.subscriptions import (
    CONFIRM_SECONDS,
    CONFIRMATIONS,
    KINDS,
    LOOK_STEP,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Subscriptions,
    require_message,
)
from cachemesh.transport import redis_py
from cachemesh.transport.sync.shard import ShardClient


class _Inner(RedisPubSub):
    """redis-py's subscriptions over one connection; takes nothing that is no message.

    redis-py itself drops the connection when a message has not come whole within ``timeout``.
    """

    def parse_response(self, block: bool = True, timeout: float = 0) -> Any:
        self.check_health()
        response = redis_py.receive(self.connection, timeout)
        if self.is_health_check_response(response):
            self.health_check_response_counter -= 1
            return None
        return require_message(response)


class Listener:
    """What is subscribed to on one shard, and the connection that hears it."""

    def __init__(self, node: ShardClient) -> None:
        self.has = Subscriptions()
        self.node = node
        self._master = node.master
        self._inner: Any = None
        self._heard: deque[dict[str, Any]] = deque()

    def settle(self, wanted: Subscriptions) -> None:
        """Subscribe and unsubscribe until ``has`` is ``wanted``, confirmed by the server.

        Raises:
            ShardUnavailableError: it cannot be reached.
            redis.ResponseError: the server refuses; the next call begins anew.
        """
        if self._inner is None:
            self._master = self.node.master
            self._inner = _Inner(self.node.pool)
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
            self.has = wanted
        except (OSError, *redis_py.BROKEN) as error:
            self.node.raise_unavailable(error)
        finally:
            if self.has is not wanted:
                self.close()  # nobody knows what it listens to

    def leave(self) -> None:
        """Unsubscribe from everything, hear what was sent before that, and close."""
        if self._sound:
            try:
                self.settle(Subscriptions())
            except (ShardUnavailableError, redis.ResponseError):
                return  # closed, so nothing is subscribed to
        self.close()

    @property
    def _sound(self) -> bool:
        """Whether the connection leads to the master, and was not closed with the client."""
        inner = self._inner
        return (
            inner is not None
            and inner.connection is not None
            and self.node.master == self._master
            and redis_py.is_open(inner.connection)
        )

    def _change(self, kind: str, wanted: Subscriptions) -> int:
        new = wanted.missing_from(self.has, kind)
        if new:  # handlers are called from `get_message`, not while subscriptions change
            getattr(self._inner, SUBSCRIBE[kind])(*new)
        gone = self.has.missing_from(wanted, kind)
        if gone:
            getattr(self._inner, UNSUBSCRIBE[kind])(*gone)
        return len(new) + len(gone)

    def next_message(self) -> dict[str, Any] | None:
        """A message that is there already. A lost connection is found out here, and mended when
        the subscriptions are settled next."""
        if self._heard:
            return self._heard.popleft()
        if self._inner is not None and not self._sound:
            self.close()
        try:
            while self._inner is not None and self._inner.connection.can_read(timeout=0):
                message = self._receive(0)
                if message is None:
                    break
                if message["type"] not in CONFIRMATIONS:
                    return message
        except redis_py.BROKEN:
            self.close()
        return None

    def heard(self) -> list[dict[str, Any]]:
        """What came while subscriptions changed, taken away."""
        heard = list(self._heard)
        self._heard.clear()
        return heard

    def _receive(self, timeout: float) -> dict[str, Any] | None:
        message: dict[str, Any] | None = self._inner.get_message(timeout=timeout)
        return message

    def ping(self, message: str | bytes | None) -> None:
        try:
            self._inner.ping(message)
        except (OSError, *redis_py.BROKEN) as error:
            self.close()
            self.node.raise_unavailable(error)

    @property
    def connection(self) -> Any:
        """redis-py's connection, None without one."""
        return self._inner and self._inner.connection

    def socket(self) -> Any:
        """What to wait on for input; None without a connection."""
        connection = self.connection
        return redis_py.socket_of(connection) if connection else None

    def close(self) -> None:
        """Let go of the connection; nothing is subscribed to then."""
        inner, self._inner = self._inner, None
        self.has = Subscriptions()
        if inner is not None:
            connection = inner.connection
            if connection is not None:
                connection.disconnect()  # UNSUBSCRIBE replies must not be left to the pool
            inner.close()
