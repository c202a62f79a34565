"""What one shard's connection hears for a pub/sub object, and where that is kept."""

from __future__ import annotations

import selectors
import time
from typing import Any

import redis
from redis.client import PubSub as RedisPubSub

from cachemesh._client.subscribing import ListenerBase, MailboxBase, changes
from cachemesh.core.planning.subscriptions import (
    CONFIRM_SECONDS,
    CONFIRMATIONS,
    TOPOLOGY_CHECK_SECONDS,
    Subscriptions,
    require_message,
)
from cachemesh.transport import redis_py
from cachemesh.transport.sync.shard import ShardClient


class Mailbox(MailboxBase["Listener"]):
    """The messages that nobody has asked for yet: heard already, or ready to be read."""

    def take(self) -> dict[str, Any] | None:
        """Return the oldest message put here, or the first that a listener has, or None."""
        if self._messages:
            return self._messages.popleft()
        heard = (listener.next_message() for listener in list(self._listeners.values()))
        return next((message for message in heard if message is not None), None)

    def expect(self) -> None:
        """Do nothing: `wait` looks at the connections themselves."""

    def wait(self, seconds: float) -> None:
        """Wait for input on any connection, for so many seconds at most."""
        with selectors.DefaultSelector() as selector:
            for listener in list(self._listeners.values()):
                if (sock := listener.socket()) is not None:
                    selector.register(sock, selectors.EVENT_READ)
            selector.select(seconds)


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


class Listener(ListenerBase[ShardClient]):
    """What is subscribed to on one shard, and the connection that hears it."""

    def must_change(self, wanted: Subscriptions) -> bool:
        """Return whether something else is listened to than ``wanted``."""
        return wanted != self.has

    def settle(self, wanted: Subscriptions) -> None:
        """Subscribe and unsubscribe until ``has`` is ``wanted``, confirmed by the server.

        Raises:
            ShardUnavailableError: it cannot be reached.
            redis.ResponseError: the server refuses; the next call begins anew.
        """
        if self.inner is None:
            self._master = self.shard.master
            self.inner = _Inner(self.shard.pool)
        try:
            unconfirmed = 0
            for command, names in changes(self.has, wanted):
                getattr(self.inner, command)(*names)
                unconfirmed += len(names)
            deadline = time.monotonic() + CONFIRM_SECONDS
            while unconfirmed:
                if time.monotonic() > deadline:
                    raise redis.TimeoutError("a subscription was not confirmed in time")
                message = self._receive(TOPOLOGY_CHECK_SECONDS)
                if message is not None and message["type"] in CONFIRMATIONS:
                    unconfirmed -= 1
                elif message is not None:
                    self._mailbox.put(message)
            self.has = wanted
        except (OSError, *redis_py.BROKEN) as error:
            self.shard.raise_unavailable(error)
        finally:
            if self.has is not wanted:
                self.close()  # nobody knows what it listens to

    @property
    def sound(self) -> bool:
        """Whether the connection leads to the master, and was not closed with the client."""
        inner = self.inner
        return (
            inner is not None
            and inner.connection is not None
            and self.shard.master == self._master
            and redis_py.is_open(inner.connection)
        )

    def next_message(self) -> dict[str, Any] | None:
        """Return a message that is there already.

        A lost connection is noticed here, and replaced when subscriptions are settled next.
        """
        if self.inner is not None and not self.sound:
            self.close()
        try:
            while self.inner is not None and self.inner.connection.can_read(timeout=0):
                message = self._receive(0)
                if message is None:
                    break
                if message["type"] not in CONFIRMATIONS:
                    return message
        except redis_py.BROKEN:
            self.close()
        return None

    def _receive(self, timeout: float) -> dict[str, Any] | None:
        message: dict[str, Any] | None = self.inner.get_message(timeout=timeout)
        return message

    def socket(self) -> Any:
        """Return what to wait on for input; None without a connection."""
        connection = self.connection
        return redis_py.socket_of(connection) if connection else None

    def close(self) -> None:
        """Let go of the connection; nothing is subscribed to then."""
        inner, self.inner = self.inner, None
        self.has = Subscriptions()
        if inner is not None:
            connection = inner.connection
            if connection is not None:
                connection.disconnect()  # UNSUBSCRIBE replies must not be left to the pool
            inner.close()

    def abandon(self) -> None:
        """As `close`, within a garbage collection."""
        self.close()


def require_shard_channels() -> None:
    """Do nothing: redis-py has shard channels for threads."""
