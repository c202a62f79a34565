"""Subscribes one thread to the failover events of all Sentinels of a pool.

``+switch-master`` reports a finished failover. ``+selected-slave`` reports the replica that is
about to be promoted: Sentinel itself notices the promotion up to a second after it. Events only
save time; the poll finds whatever is missed here.
"""

from __future__ import annotations

import logging
import random
import selectors
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis

from cachemesh.core.names import Address
from cachemesh.discovery.sentinel import checked_address
from cachemesh.discovery.sentinel_connection import SentinelConnection, SentinelOptions
from cachemesh.discovery.wakeup import StopEvent, Wakeup

logger = logging.getLogger("cachemesh.discovery")

OnEvent = Callable[[str, Address, Address], None]
"""Called with a shard's name, its former (or present) master and its new (or next) one."""

_SWITCH, _SELECTED = "+switch-master", "+selected-slave"

_PING_SECONDS = 2.0
_SILENT_SECONDS = 1.5
_STEP = 0.5
_RETRY_FIRST, _RETRY_MAX = 0.5, 15.0


class _Subscription:
    """A subscription to one Sentinel, with the times at which something is due."""

    def __init__(self) -> None:
        self.connection: SentinelConnection | None = None
        self.unconfirmed: list[str] = []
        self.refused = False
        self.was_confirmed = False
        self.retry_at = float("-inf")
        self.retry_delay = _RETRY_FIRST
        self.ping_at = 0.0
        self.silent_at = float("inf")


class SentinelEvents:
    """Subscriptions to the failover events of Sentinels.

    Args:
        options: credentials and timeout.
        on_switch: called when a failover has finished.
        on_selected: called when Sentinel has selected the replica to promote.
        on_gap: called when a lost subscription works again; events may have been missed.
    """

    def __init__(
        self,
        options: SentinelOptions,
        on_switch: OnEvent,
        on_selected: OnEvent,
        on_gap: Callable[[], None],
    ) -> None:
        self._options = options
        self._on_switch = on_switch
        self._on_selected = on_selected
        self._on_gap = on_gap
        self._subscriptions: dict[Address, _Subscription] = {}
        self._refusal_told = False

    def run(
        self,
        addresses: Callable[[], Sequence[Address]],
        stop: StopEvent,
        wakeup: Wakeup,
        on_wakeup: Callable[[], None],
    ) -> None:
        """Listen until ``stop`` is set. Lost connections are opened again after a delay.

        Args:
            addresses: returns the current Sentinels.
            stop: checked every half second and after each wakeup.
            wakeup: wakes this thread.
            on_wakeup: called after each wakeup.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(wakeup, selectors.EVENT_READ)
            try:
                while not stop.is_set():
                    self._look_after(selector, addresses(), stop)
                    for key, _ in selector.select(_STEP):
                        if key.data is None:
                            wakeup.clear()
                            on_wakeup()
                        else:
                            self._hear(selector, key.data, self._subscriptions[key.data])
            finally:
                for address in list(self._subscriptions):
                    self._forget(selector, address)

    def _look_after(
        self, selector: selectors.BaseSelector, addresses: Sequence[Address], stop: StopEvent
    ) -> None:
        for address in set(self._subscriptions) - set(addresses):
            self._forget(selector, address)
        for address in addresses:
            subscription = self._subscriptions.setdefault(address, _Subscription())
            now = time.monotonic()
            if subscription.refused or stop.is_set():
                continue
            try:
                if subscription.connection is None:
                    if now >= subscription.retry_at:
                        self._connect(selector, address, subscription)
                elif now >= subscription.silent_at:
                    raise TimeoutError("nothing heard from it")
                elif now >= subscription.ping_at:
                    subscription.connection.send(("PING",))
                    subscription.ping_at = now + _PING_SECONDS
                    subscription.silent_at = min(subscription.silent_at, now + _SILENT_SECONDS)
            except (redis.RedisError, OSError, ValueError) as error:
                self._lost(selector, address, subscription, error)

    def _connect(
        self, selector: selectors.BaseSelector, address: Address, subscription: _Subscription
    ) -> None:
        subscription.connection = connection = SentinelConnection(address, self._options)
        selector.register(connection, selectors.EVENT_READ, address)
        subscription.unconfirmed = [_SWITCH, _SELECTED]
        for channel in subscription.unconfirmed:  # one by one: an ACL may allow only one
            connection.send(("SUBSCRIBE", channel))
        now = time.monotonic()
        subscription.ping_at, subscription.silent_at = now + _PING_SECONDS, now + _SILENT_SECONDS

    def _hear(
        self, selector: selectors.BaseSelector, address: Address, subscription: _Subscription
    ) -> None:
        if subscription.connection is None:
            return
        try:
            for message in subscription.connection.receive():
                self._take(address, subscription, message)
        except (redis.RedisError, OSError, ValueError) as error:
            self._lost(selector, address, subscription, error)
            return
        subscription.silent_at = float("inf")  # until the next PING
        if subscription.refused:
            self._close(selector, subscription)

    def _take(self, address: Address, subscription: _Subscription, message: Any) -> None:
        if isinstance(message, redis.ResponseError):
            if not str(message).startswith("NOPERM") or not subscription.unconfirmed:
                raise message
            if subscription.unconfirmed.pop(0) == _SWITCH:
                subscription.refused = True
                if not self._refusal_told:
                    logger.info("Sentinel %s refuses SUBSCRIBE, so polling has to do", address)
                self._refusal_told = True
        elif not isinstance(message, list) or not message:
            raise redis.InvalidResponse("its answer is not that of a Sentinel")
        elif message[0] == "subscribe":
            if not subscription.unconfirmed or subscription.unconfirmed.pop(0) != _SWITCH:
                return
            subscription.retry_delay = _RETRY_FIRST
            if subscription.was_confirmed:
                self._on_gap()
            subscription.was_confirmed = True
        elif message[:2] == ["message", _SWITCH]:
            self._on_switch(*_switch(message))
        elif message[:2] == ["message", _SELECTED]:
            self._on_selected(*_selected(message))

    def _lost(
        self,
        selector: selectors.BaseSelector,
        address: Address,
        subscription: _Subscription,
        error: Exception,
    ) -> None:
        logger.debug("not listening to Sentinel %s: %s", address, error)
        self._close(selector, subscription)
        subscription.retry_at = time.monotonic() + subscription.retry_delay * random.uniform(
            0.5, 1.0
        )
        subscription.retry_delay = min(subscription.retry_delay * 2, _RETRY_MAX)

    def _close(self, selector: selectors.BaseSelector, subscription: _Subscription) -> None:
        connection, subscription.connection = subscription.connection, None
        if connection is not None:
            selector.unregister(connection)
            connection.close()

    def _forget(self, selector: selectors.BaseSelector, address: Address) -> None:
        self._close(selector, self._subscriptions.pop(address))


def _switch(message: list[Any]) -> tuple[str, Address, Address]:
    """Parse a ``+switch-master`` message.

    Source: redis.io, "High availability with Redis Sentinel", Pub/Sub messages: ``<master name>
    <oldip> <oldport> <newip> <newport>``.

    Returns:
        Shard, former master, new master.

    Raises:
        redis.InvalidResponse, InvalidDocumentError: the message has another form.
    """
    words = str(message[-1]).split(" ")
    if len(words) != 5:
        raise redis.InvalidResponse("its message is not that of a Sentinel")
    return words[0], checked_address(*words[1:3]), checked_address(*words[3:5])


def _selected(message: list[Any]) -> tuple[str, Address, Address]:
    """Parse a ``+selected-slave`` message.

    Source: as `_switch`: ``slave <name> <ip> <port> @ <master-name> <master-ip> <master-port>``.

    Returns:
        Shard, present master, selected replica.

    Raises:
        redis.InvalidResponse, InvalidDocumentError: the message has another form.
    """
    words = str(message[-1]).split(" ")
    if len(words) != 8 or words[4] != "@":
        raise redis.InvalidResponse("its message is not that of a Sentinel")
    return words[5], checked_address(*words[6:8]), checked_address(*words[2:4])
