"""Which instances a shard has, and which of them to ask: the common base of both `ShardClient`."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Generic, NoReturn, Protocol, TypeVar

import redis

from cachemesh.core.errors import ShardUnavailableError
from cachemesh.core.names import Address
from cachemesh.core.pool.topology import Candidate
from cachemesh.core.reads.load_weights import Window
from cachemesh.core.reads.read_preference import Pins, Reading, order
from cachemesh.core.reads.replication_lag import NEVER, LagMeter
from cachemesh.core.resilience.circuit_breaker import Breaker, ShardHealth
from cachemesh.core.resilience.retry import Failure, Timeouts, retry_until
from cachemesh.transport import redis_py
from cachemesh.transport.failures import BreakerOpenError, failure_of
from cachemesh.transport.master_locator import Locator
from cachemesh.transport.unavailable import (
    closed_meanwhile,
    no_replica,
    not_serving,
    raise_unserved,
)

SWITCH_GRACE = 0.5
"""Seconds that a former master has for the replies it still owes.

In a planned failover writes wait on it until it is demoted, somewhat after the promotion.
"""

_PINS = 8192
_FIND_SECONDS = 2.0  # until the replicas are known, after the first client wanted them
_LATE = 0.4  # of the time limit: so much later, what is left is for the master
COURT_SECONDS = 5.0
"""How long a replica that was selected is asked whether it is master by now."""

COURT_STEP = 0.03
"""Seconds between two questions."""

WAIT_STEP = 0.002
"""Seconds between looks whether a replica has caught up."""


class AnyInstance(Protocol):
    """Connections to one server."""

    address: Address
    breaker: Breaker
    window: Window
    probes: bool

    def failed(self, failure: Failure) -> None:
        """It does not serve."""

    def drop(self, grace: float | None = None) -> None:
        """Use it no more; see `cachemesh.transport.sync.instance`."""


I = TypeVar("I", bound=AnyInstance)  # noqa: E741


class ShardBase(Generic[I]):
    """The instances of one shard.

    Args:
        name: of the shard.
        template: connection options.
        locator: knows where the master is.

    Attributes:
        limit: seconds that a command may take with all that belongs to it.
        instance: the master, None if nobody knows it.
        replicas: as far as known.
        meter: up to when they have all writes.
        hurry: has them measured soon.
        misses, dropped: counted as `ShardHealth` tells.
        forked: it is a parent's, and this a child of that process.
        ended: nobody follows the shard any more: the client was closed, or it has left the pool.
        closed: the client was closed.
    """

    def __init__(self, name: str, template: Any, locator: Locator) -> None:
        self.shard = name
        self._template = template
        self._locator = locator
        self._timeouts = Timeouts(None, None)
        self._pins: Pins | None = None
        self._expected: Candidate | None = None
        self._pinning = threading.RLock()  # a signal handler may write, too
        self._knows_replicas = False
        self._finds_until: float | None = None
        self.hurry: Callable[[], None] = _nothing
        self.limit = math.inf
        self.instance: I | None = None
        self.replicas: tuple[I, ...] = ()
        self.meter = LagMeter()
        self.misses = self.dropped = 0
        self.ended = self.closed = self.forked = False
        self._pool: Any = None
        self._switching = threading.RLock()  # else a former master could be brought back

    @property
    def how_to_look(self) -> str:
        """As `Locator.how_to_look`."""
        return self._locator.how_to_look(self.shard)

    @property
    def master(self) -> Address | None:
        """Where the master is, as far as known."""
        instance = self.instance
        return None if instance is None else instance.address

    def configure(self, timeouts: Timeouts) -> None:
        """How long to wait; connections made so far are dropped if this differs."""
        if timeouts != self._timeouts:
            self._timeouts = timeouts
            self.limit = math.inf if timeouts.reply is None else timeouts.reply
            self.drop_links()

    def point_to(self, master: Address | None, replicas: Sequence[Address] | None = None) -> None:
        """They are there now; connections to others are ended. From any thread.

        Args:
            master: None if nobody knows it.
            replicas: None if nobody has looked for them yet.
        """
        with self._switching:
            self._set_replicas([address for address in replicas or () if address != master])
            self._knows_replicas = replicas is not None
            # First: what the former master has sent since must not count for writes to this one.
            self.meter.follow(master)
            if master != self.master:
                self._set_master(master, SWITCH_GRACE)

    def expect(self, candidate: Candidate | None) -> None:
        """Sentinel has selected a replica to be the next master. From any thread."""
        if candidate is not None and candidate != self._expected and self.master is not None:
            self._court(self.master, candidate.address)
        self._expected = candidate

    def _court(self, former: Address, candidate: Address) -> None:
        """Ask the candidate for its role until it is master, and go there at once."""
        raise NotImplementedError

    def drop_links(self) -> None:
        """Close all idle connections and, as they come back, those in use. From any thread."""
        with self._switching:
            self._set_master(self.master, None)
            former = self.replicas
            self.replicas = tuple(self._make(replica.address, None) for replica in former)
        for replica in former:
            replica.drop()

    def end(self) -> None:
        """As `drop_links`; commands under way go on, but nothing is sought or probed for them."""
        self.ended = True
        self.drop_links()
        for instance in (self.instance, *self.replicas):
            if instance is not None:
                instance.probes = False

    def leave_to_parent(self) -> None:
        """In a forked child: do nothing to connections, and let nobody use them."""
        self.forked = True
        pool = self._pool
        if pool is not None:
            for connection in (*pool._available_connections, *pool._in_use_connections):
                redis_py.leave_to_parent(connection)
        self.abandon()

    def abandon(self) -> None:
        """For asyncio: the client goes on in another loop, or in a forked child."""

    def _set_master(self, master: Address | None, grace: float | None) -> None:
        former = self.instance
        self.instance = None if master is None else self._make(master, "master")
        if former is not None:
            former.drop(grace)

    def _set_replicas(self, addresses: Sequence[Address]) -> None:
        known = {replica.address: replica for replica in self.replicas}
        if set(addresses) == set(known):
            return
        self.replicas = tuple(known.pop(a, None) or self._newcomer(a) for a in addresses)
        for former in known.values():
            former.drop(SWITCH_GRACE)

    def _newcomer(self, address: Address) -> I:
        """Any role will do: one that has become a master since has all that it had."""
        replica = self._make(address, None)
        if self._knows_replicas:  # it may have been away: a probe has to succeed first
            replica.window.failed(time.monotonic())
        return replica

    def _make(self, address: Address, role: str | None) -> I:
        raise NotImplementedError

    def wrote(self, keys: Sequence[bytes], now: float) -> None:
        """This client wrote to these keys; without keys, nobody knows to which."""
        with self._pinning:
            pins = self._pins
            if pins is None:
                pins = self._pins = Pins(_PINS)
            for key in keys:
                pins.wrote(key, now)
            if not keys:
                pins.wrote_anywhere(now)

    def readable(self, reading: Reading, keys: Sequence[bytes], now: float) -> list[I]:
        """The instances that may answer a read of these keys, best first."""
        pins = self._pins
        written = NEVER if pins is None else max(map(pins.written_at, keys), default=NEVER)
        chance = random.random()
        covered = self.meter.covered
        return order(reading, self.instance, self.replicas, covered, written, now, chance)

    def instances(self) -> tuple[I | None, tuple[I, ...]]:
        """The master, if known, and the replicas."""
        return self.instance, self.replicas

    def for_master(self, reading: Reading, instance: I, began: float, failed: bool) -> bool:
        """Whether it is time to turn to the master, instead of to this one of `readable`.

        Args:
            reading: as for `readable`.
            instance: the next to ask.
            began: when the read did.
            failed: one was asked already.
        """
        if instance is self.instance:
            return not reading.draws
        if reading.only_replicas or not failed:
            return False
        master = self.instance
        sound = master is not None and not master.window.failures
        return sound and time.monotonic() - began > self.limit * _LATE

    def may_come(self, began: float, error: Exception | None) -> bool:
        """Whether a replica may yet answer a read that ``began`` then, though now none did."""
        now = time.monotonic()
        if error is not None and failure_of(error) is None:
            return False
        if now >= retry_until(began + self.limit, began):
            return False
        if self.replicas:
            return any(replica.breaker.closed for replica in self.replicas)
        if self._finds_until is None:
            self._finds_until = now + _FIND_SECONDS
        return not self._knows_replicas and now < self._finds_until

    def lacks_script(self, reading: Reading, instance: I, reply: Exception) -> bool:
        """Whether to ask the master instead: EVALSHA_RO knows only what each has loaded itself."""
        return (
            isinstance(reply, redis.exceptions.NoScriptError)
            and instance is not self.instance
            and not reading.only_replicas
        )

    def note_failed(self, instance: I, error: Exception, now: float) -> None:
        """An instance that was to be read from did not serve."""
        instance.window.failed(now)
        failure = failure_of(error)
        if failure in (Failure.NO_REPLY, Failure.NOT_READY):
            instance.failed(failure)

    def timeouts_for(self, role: str | None) -> Timeouts:
        """Of a master all the time there is; of a replica half of it, for another to be asked."""
        timeouts = self._timeouts
        if role is not None or timeouts.reply is None:
            return timeouts
        return replace(timeouts, reply=timeouts.reply / 2)

    def _check_breaker(self, instance: I) -> None:
        if not instance.breaker.closed:
            self._raise(instance, BreakerOpenError())

    def health(self) -> ShardHealth:
        """How the shard does, as far as this client has seen."""
        breaker = "closed" if self.instance is None else self.instance.breaker.state
        return ShardHealth(self.master, breaker, self.misses, self.dropped)

    def unavailable(self, address: Address | None, error: Exception) -> ShardUnavailableError:
        """The error that tells an app why this shard did not answer."""
        return not_serving(self.shard, address or self.master, error, self.how_to_look)

    def raise_unavailable(self, error: Exception) -> NoReturn:
        """Raise what `unavailable` makes of an error, which may be that error with its cause."""
        told = self.unavailable(None, error)
        if told is error:
            raise error
        raise told from error

    def _raise(self, instance: I | None, error: Exception) -> NoReturn:
        if self.closed or (self.ended and instance is None):
            raise closed_meanwhile(self.shard) from error
        address = None if instance is None else instance.address
        raise_unserved(self.shard, address, error, self.how_to_look)

    def raise_unread(self, reading: Reading, error: Exception | None) -> NoReturn:
        """Raise when no replica answered a read that is not for the master."""
        raise no_replica(self.shard, reading.max_lag, error) from error


def _nothing() -> None:
    """Nobody measures."""


def nobody(instance: object, error: Exception) -> None:
    """Whom a replica tells that it does not serve: nobody need know."""
