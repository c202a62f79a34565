"""Hearing of failovers at once, from all Sentinels of a pool, in one thread.

``+switch-master`` says that a failover is over, ``+selected-slave`` which replica is going to be
promoted: Sentinel itself learns of the promotion up to a second after it. For speed alone:
whatever is missed here is found by the poll.
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
from cachemesh.discovery.sentinel_connection import SentinelOptions, Wire
from cachemesh.discovery.wakeup import Bell, Stop

logger = logging.getLogger("cachemesh.discovery")

OnEvent = Callable[[str, Address, Address], None]
"""Called with a shard's name, its former (or present) master and its new (or next) one."""

_SWITCH, _SELECTED = "+switch-master", "+selected-slave"

_PING_SECONDS = 2.0
_DEAF_SECONDS = 1.5
_STEP = 0.5
_RETRY_FIRST, _RETRY_MOST = 0.5, 15.0


class _Ear:
    """A subscription to one Sentinel, and when to look after it."""

    def __init__(self) -> None:
        self.wire: Wire | None = None
        self.unconfirmed: list[str] = []
        self.refused = False
        self.heard_before = False
        self.retry_at = float("-inf")
        self.retry_pause = _RETRY_FIRST
        self.ping_at = 0.0
        self.deaf_at = float("inf")


class Listening:
    """Subscriptions to what Sentinels tell of failovers.

    Args:
        options: credentials and timeouts.
        on_switch: called when a failover is over.
        on_selected: called when a replica has been selected to be promoted.
        on_gap: called when a subscription works again after it was lost: something may be missed.
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
        self._ears: dict[Address, _Ear] = {}
        self._refusal_told = False

    def run(
        self,
        addresses: Callable[[], Sequence[Address]],
        stop: Stop,
        bell: Bell,
        on_bell: Callable[[], None],
    ) -> None:
        """Listen until ``stop`` is set. Never fails: what breaks is made anew, after a while.

        Args:
            addresses: the Sentinels of now.
            stop: is looked at every half second, and when the bell rings.
            bell: wakes this thread.
            on_bell: called when it has rung.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(bell, selectors.EVENT_READ)
            try:
                while not stop.is_set():
                    self._look_after(selector, addresses(), stop)
                    for key, _ in selector.select(_STEP):
                        if key.data is None:
                            bell.silence()
                            on_bell()
                        else:
                            self._hear(selector, key.data, self._ears[key.data])
            finally:
                for address in list(self._ears):
                    self._forget(selector, address)

    def _look_after(
        self, selector: selectors.BaseSelector, addresses: Sequence[Address], stop: Stop
    ) -> None:
        for address in set(self._ears) - set(addresses):
            self._forget(selector, address)
        for address in addresses:
            ear = self._ears.setdefault(address, _Ear())
            now = time.monotonic()
            if ear.refused or stop.is_set():
                continue
            try:
                if ear.wire is None:
                    if now >= ear.retry_at:
                        self._connect(selector, address, ear)
                elif now >= ear.deaf_at:
                    raise TimeoutError("nothing heard from it")
                elif now >= ear.ping_at:
                    ear.wire.tell(("PING",))
                    ear.ping_at = now + _PING_SECONDS
                    ear.deaf_at = min(ear.deaf_at, now + _DEAF_SECONDS)
            except (redis.RedisError, OSError, ValueError) as error:
                self._lost(selector, address, ear, error)

    def _connect(self, selector: selectors.BaseSelector, address: Address, ear: _Ear) -> None:
        ear.wire = wire = Wire(address, self._options)
        selector.register(wire, selectors.EVENT_READ, address)
        ear.unconfirmed = [_SWITCH, _SELECTED]
        for channel in ear.unconfirmed:  # one by one, as an ACL may allow only one of them
            wire.tell(("SUBSCRIBE", channel))
        now = time.monotonic()
        ear.ping_at, ear.deaf_at = now + _PING_SECONDS, now + _DEAF_SECONDS

    def _hear(self, selector: selectors.BaseSelector, address: Address, ear: _Ear) -> None:
        if ear.wire is None:
            return
        try:
            for message in ear.wire.heard():
                self._take(address, ear, message)
        except (redis.RedisError, OSError, ValueError) as error:
            self._lost(selector, address, ear, error)
            return
        ear.deaf_at = float("inf")  # until the next question
        if ear.refused:
            self._close(selector, ear)

    def _take(self, address: Address, ear: _Ear, message: Any) -> None:
        if isinstance(message, redis.ResponseError):
            if not str(message).startswith("NOPERM") or not ear.unconfirmed:
                raise message
            if ear.unconfirmed.pop(0) == _SWITCH:
                ear.refused = True
                if not self._refusal_told:
                    logger.info("Sentinel %s refuses SUBSCRIBE, so polling has to do", address)
                self._refusal_told = True
        elif not isinstance(message, list) or not message:
            raise redis.InvalidResponse("its answer is not that of a Sentinel")
        elif message[0] == "subscribe":
            if not ear.unconfirmed or ear.unconfirmed.pop(0) != _SWITCH:
                return
            ear.retry_pause = _RETRY_FIRST
            if ear.heard_before:
                self._on_gap()
            ear.heard_before = True
        elif message[:2] == ["message", _SWITCH]:
            self._on_switch(*_switch(message))
        elif message[:2] == ["message", _SELECTED]:
            self._on_selected(*_selected(message))

    def _lost(
        self, selector: selectors.BaseSelector, address: Address, ear: _Ear, error: Exception
    ) -> None:
        logger.debug("not listening to Sentinel %s: %s", address, error)
        self._close(selector, ear)
        ear.retry_at = time.monotonic() + ear.retry_pause * random.uniform(0.5, 1.0)
        ear.retry_pause = min(ear.retry_pause * 2, _RETRY_MOST)

    def _close(self, selector: selectors.BaseSelector, ear: _Ear) -> None:
        wire, ear.wire = ear.wire, None
        if wire is not None:
            selector.unregister(wire)
            wire.close()

    def _forget(self, selector: selectors.BaseSelector, address: Address) -> None:
        self._close(selector, self._ears.pop(address))


def _switch(message: list[Any]) -> tuple[str, Address, Address]:
    """Shard, former and new master of a ``+switch-master`` message.

    Its form is that of redis.io, "High availability with Redis Sentinel", Pub/Sub messages:
    ``<master name> <oldip> <oldport> <newip> <newport>``.

    Raises:
        redis.InvalidResponse, InvalidDocumentError: it is of another form.
    """
    words = str(message[-1]).split(" ")
    if len(words) != 5:
        raise redis.InvalidResponse("its message is not that of a Sentinel")
    return words[0], checked_address(*words[1:3]), checked_address(*words[3:5])


def _selected(message: list[Any]) -> tuple[str, Address, Address]:
    """Shard, present master and the replica selected, of a ``+selected-slave`` message.

    Its form, by the same source: ``slave <name> <ip> <port> @ <master-name> <master-ip>
    <master-port>``. Raises as `_switch`.
    """
    words = str(message[-1]).split(" ")
    if len(words) != 8 or words[4] != "@":
        raise redis.InvalidResponse("its message is not that of a Sentinel")
    return words[5], checked_address(*words[6:8]), checked_address(*words[2:4])
