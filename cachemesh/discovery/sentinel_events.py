"""Events of failovers, as all Sentinels of a pool publish them. For one thread.

``+switch-master`` says that a failover is over. ``+selected-slave`` says which replica is going to
be promoted; Sentinels learn of the promotion itself up to a second late. Events only save time:
the regular look-ups find whatever they miss.
"""

from __future__ import annotations

import logging
import random
import selectors
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import redis

from cachemesh.core.names import Address
from cachemesh.discovery.sentinel import checked_address
from cachemesh.discovery.sentinel_connection import SentinelConnection, SentinelOptions
from cachemesh.discovery.wakeup import StopEvent, Wakeup

logger = logging.getLogger("cachemesh.discovery")

_SWITCH, _SELECTED = "+switch-master", "+selected-slave"

_PING_SECONDS = 2.0
_SILENT_SECONDS = 1.5  # from a PING until the connection counts as broken
_STEP_SECONDS = 0.5
_RETRY_FIRST, _RETRY_MAX = 0.5, 15.0


class MasterSwitched(NamedTuple):
    """A failover is over: the master of ``shard`` was ``old`` and now is ``new``."""

    shard: str
    old: Address
    new: Address


class CandidateSelected(NamedTuple):
    """A Sentinel has selected ``candidate`` to replace ``master``, and is about to promote it."""

    shard: str
    master: Address
    candidate: Address


class EventsMissed(NamedTuple):
    """A subscription works again after it was lost; events may have been missed meanwhile."""


class WokenUp(NamedTuple):
    """Another thread has called `Wakeup.wake`."""


SentinelEvent: TypeAlias = "MasterSwitched | CandidateSelected | EventsMissed | WokenUp"


class _Subscription:
    """The subscription to one Sentinel. Times are on the clock of `time.monotonic`.

    Attributes:
        connection: None while there is none.
        unconfirmed: channels whose SUBSCRIBE has no reply yet.
        refused: the Sentinel's ACL forbids to subscribe; nothing further is tried.
        was_confirmed: whether the subscription has ever worked.
        retry_at: when to connect again.
        retry_delay: seconds until the attempt after the next.
        ping_at: when to send the next PING.
        silent_at: when the connection counts as broken, unless something is received before.
    """

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
    """Subscriptions to the events of Sentinels.

    Args:
        options: credentials and timeouts.
        wakeup: a call of its `wake` makes `listen` yield `WokenUp`.
    """

    def __init__(self, options: SentinelOptions, wakeup: Wakeup) -> None:
        self._options = options
        self._wakeup = wakeup
        self._selector = selectors.DefaultSelector()
        self._subscriptions: dict[Address, _Subscription] = {}
        self._refusal_logged = False

    def listen(
        self, addresses: Callable[[], Sequence[Address]], stop: StopEvent
    ) -> Iterator[SentinelEvent]:
        """Yield events until ``stop`` is set. A broken subscription is made anew after a delay.

        Args:
            addresses: returns the present Sentinels.
            stop: checked every half second, and at each `WokenUp`.
        """
        with self._selector as selector:
            selector.register(self._wakeup, selectors.EVENT_READ)
            try:
                while not stop.is_set():
                    self._maintain(addresses(), stop)
                    for key, _ in selector.select(_STEP_SECONDS):
                        if key.data is None:
                            self._wakeup.clear()
                            yield WokenUp()
                        else:
                            yield from self._receive(key.data, self._subscriptions[key.data])
            finally:
                for address in list(self._subscriptions):
                    self._forget(address)

    def _maintain(self, addresses: Sequence[Address], stop: StopEvent) -> None:
        """Connect to new Sentinels, leave former ones, send PINGs, and close broken connections."""
        for address in set(self._subscriptions) - set(addresses):
            self._forget(address)
        for address in addresses:
            subscription = self._subscriptions.setdefault(address, _Subscription())
            now = time.monotonic()
            if subscription.refused or stop.is_set():
                continue
            try:
                if subscription.connection is None:
                    if now >= subscription.retry_at:
                        self._connect(address, subscription)
                elif now >= subscription.silent_at:
                    raise TimeoutError("no reply to PING")
                elif now >= subscription.ping_at:
                    subscription.connection.send(("PING",))
                    subscription.ping_at = now + _PING_SECONDS
                    subscription.silent_at = min(subscription.silent_at, now + _SILENT_SECONDS)
            except (redis.RedisError, OSError, ValueError) as error:
                self._lost(address, subscription, error)

    def _connect(self, address: Address, subscription: _Subscription) -> None:
        subscription.connection = connection = SentinelConnection(address, self._options)
        self._selector.register(connection, selectors.EVENT_READ, address)
        subscription.unconfirmed = [_SWITCH, _SELECTED]
        for channel in subscription.unconfirmed:  # one by one: an ACL may allow one and not both
            connection.send(("SUBSCRIBE", channel))
        now = time.monotonic()
        subscription.ping_at, subscription.silent_at = now + _PING_SECONDS, now + _SILENT_SECONDS

    def _receive(self, address: Address, subscription: _Subscription) -> Iterator[SentinelEvent]:
        """Yield the events of the messages that have come from one Sentinel."""
        if subscription.connection is None:
            return
        try:
            for message in subscription.connection.receive():
                event = self._event(address, subscription, message)
                if event is not None:
                    yield event
        except (redis.RedisError, OSError, ValueError) as error:
            self._lost(address, subscription, error)
            return
        subscription.silent_at = float("inf")  # until the next PING
        if subscription.refused:
            self._close(subscription)

    def _event(
        self, address: Address, subscription: _Subscription, message: Any
    ) -> SentinelEvent | None:
        """Return the event of a message; None for confirmations and replies to PING.

        Raises:
            redis.RedisError, InvalidDocumentError: no Sentinel sends such a message.
        """
        if isinstance(message, redis.ResponseError):
            if not str(message).startswith("NOPERM") or not subscription.unconfirmed:
                raise message
            if subscription.unconfirmed.pop(0) == _SWITCH:
                subscription.refused = True
                if not self._refusal_logged:
                    logger.info(
                        "Sentinel %s refuses SUBSCRIBE; failovers are found by polling", address
                    )
                self._refusal_logged = True
        elif not isinstance(message, list) or not message:
            raise redis.InvalidResponse("its answer is not that of a Sentinel")
        elif message[0] == "subscribe":
            if not subscription.unconfirmed or subscription.unconfirmed.pop(0) != _SWITCH:
                return None
            subscription.retry_delay = _RETRY_FIRST
            was_confirmed, subscription.was_confirmed = subscription.was_confirmed, True
            return EventsMissed() if was_confirmed else None
        elif message[:2] == ["message", _SWITCH]:
            return _switched(message)
        elif message[:2] == ["message", _SELECTED]:
            return _selected(message)
        return None

    def _lost(self, address: Address, subscription: _Subscription, error: Exception) -> None:
        logger.debug("no events from Sentinel %s: %s", address, error)
        self._close(subscription)
        delay = subscription.retry_delay
        subscription.retry_at = time.monotonic() + delay * random.uniform(0.5, 1.0)
        subscription.retry_delay = min(delay * 2, _RETRY_MAX)

    def _close(self, subscription: _Subscription) -> None:
        connection, subscription.connection = subscription.connection, None
        if connection is not None:
            self._selector.unregister(connection)
            connection.close()

    def _forget(self, address: Address) -> None:
        self._close(self._subscriptions.pop(address))


def _switched(message: list[Any]) -> MasterSwitched:
    """Return the event of a ``+switch-master`` message.

    The message is ``<master name> <oldip> <oldport> <newip> <newport>``.

    Source: redis.io, "High availability with Redis Sentinel", Pub/Sub messages.

    Raises:
        redis.InvalidResponse, InvalidDocumentError: the message has another form.
    """
    words = str(message[-1]).split(" ")
    if len(words) != 5:
        raise redis.InvalidResponse("its message is not that of a Sentinel")
    return MasterSwitched(words[0], checked_address(*words[1:3]), checked_address(*words[3:5]))


def _selected(message: list[Any]) -> CandidateSelected:
    """Return the event of a ``+selected-slave`` message.

    The message is ``slave <name> <ip> <port> @ <master-name> <master-ip> <master-port>``. Source
    and errors as of `_switched`.
    """
    words = str(message[-1]).split(" ")
    if len(words) != 8 or words[4] != "@":
        raise redis.InvalidResponse("its message is not that of a Sentinel")
    return CandidateSelected(words[5], checked_address(*words[6:8]), checked_address(*words[2:4]))
