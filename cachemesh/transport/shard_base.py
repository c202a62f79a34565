"""Which instance of a shard is asked, and what an app is told: the base of both `ShardClient`."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import redis

from cachemesh.core.errors import ShardUnavailableError
from cachemesh.core.names import Address
from cachemesh.core.reads.read_preference import Reading, order
from cachemesh.core.reads.recent_writes import RecentWrites
from cachemesh.core.reads.replication_lag import NEVER
from cachemesh.core.resilience.circuit_breaker import ShardHealth
from cachemesh.core.resilience.error_classification import (
    BreakerOpenError,
    Failure,
    NotSentError,
    failure_of,
)
from cachemesh.core.resilience.replica_patience import ReplicaPatience
from cachemesh.core.resilience.retry import retry_until
from cachemesh.transport.master_locator import MasterLocator
from cachemesh.transport.shard_instances import InstanceT, ShardInstances
from cachemesh.transport.unavailable import (
    closed_meanwhile,
    no_replica,
    not_serving,
    raise_unserved,
)

_WRITES_REMEMBERED = 8192
_FIND_SECONDS = 2.0  # until the replicas are known, after the first client wanted them
_LATE_SHARE = 0.4  # of the time limit: after so much of it, what is left is for the master


class ShardBase(ShardInstances[InstanceT]):
    """One shard: its instances, this client's writes to it, and its errors.

    Args:
        name, template, locator: as of `ShardInstances`.

    Attributes:
        hurry: has the replicas measured soon.
        misses, dropped: counted as `ShardHealth` tells.
        replica_patience: with a master that lacks replicas.
    """

    def __init__(self, name: str, template: Any, locator: MasterLocator) -> None:
        super().__init__(name, template, locator)
        self._writes: RecentWrites | None = None
        self._noting = threading.RLock()  # a signal handler may write, too
        self._finds_until: float | None = None
        self.hurry: Callable[[], None] = _nothing
        self.misses = self.dropped = 0
        self.replica_patience = ReplicaPatience()

    def wrote(self, keys: Sequence[bytes], now: float) -> None:
        """Note that this client wrote to these keys; without keys, to any key."""
        with self._noting:
            writes = self._writes
            if writes is None:
                writes = self._writes = RecentWrites(_WRITES_REMEMBERED)
            for key in keys:
                writes.wrote(key, now)
            if not keys:
                writes.wrote_anywhere(now)

    def readable(self, reading: Reading, keys: Sequence[bytes], now: float) -> list[InstanceT]:
        """Return the instances that may answer a read of these keys, best first."""
        writes = self._writes
        written = NEVER if writes is None else max(map(writes.written_at, keys), default=NEVER)
        covered, draw = self.meter.covered, random.random()
        return order(reading, self.instance, self.replicas, covered, written, now, draw)

    def for_master(self, reading: Reading, instance: InstanceT, began: float, failed: bool) -> bool:
        """Return whether to send a read to the master as any command, instead of asking this one.

        Args:
            reading: as for `readable`.
            instance: the next of `readable`.
            began: when the read did.
            failed: another instance has failed.
        """
        if instance is self.instance:
            return not reading.draws
        if reading.only_replicas or not failed:
            return False
        master = self.instance
        sound = master is not None and not master.window.failures
        return sound and time.monotonic() - began > self.limit * _LATE_SHARE

    def may_come(self, began: float, error: Exception | None) -> bool:
        """Return whether a replica may yet answer a read that began then, though now none does."""
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

    def lacks_script(self, reading: Reading, instance: InstanceT, reply: Exception) -> bool:
        """Return whether to ask the master because this instance has not loaded the script.

        EVALSHA_RO knows only the scripts that an instance has loaded itself.
        """
        return (
            isinstance(reply, redis.exceptions.NoScriptError)
            and instance is not self.instance
            and not reading.only_replicas
        )

    def note_failed(self, instance: InstanceT, error: Exception, now: float) -> None:
        """Record that an instance did not serve a read."""
        instance.window.failed(now)
        failure = failure_of(error)
        if failure in (Failure.NO_REPLY, Failure.NOT_READY):
            instance.failed(failure)

    def _check_breaker(self, instance: InstanceT) -> None:
        if not instance.breaker.closed:
            self.give_up(instance, BreakerOpenError())

    def require_serving(self) -> None:
        """Raise `ShardUnavailableError` if the master is known not to serve."""
        if self.instance is not None:
            self._check_breaker(self.instance)

    def health(self) -> ShardHealth:
        """Return how the shard does, as far as this client has seen."""
        breaker = "closed" if self.instance is None else self.instance.breaker.state
        return ShardHealth(self.master, breaker, self.misses, self.dropped)

    def unavailable(self, address: Address | None, error: Exception) -> ShardUnavailableError:
        """Return the error that tells an app why this shard did not answer."""
        if not isinstance(error, ShardUnavailableError):  # else it is counted already
            self.quality.failed(error)
        return not_serving(self.name, address or self.master, error, self.advice)

    def raise_unavailable(self, error: Exception) -> NoReturn:
        """Raise what `unavailable` makes of an error, which may be that error with its cause."""
        told = self.unavailable(None, error)
        if told is error:
            raise error
        raise told from error

    def give_up(self, instance: InstanceT | None, error: Exception) -> NoReturn:
        """Raise what the app is to see of the last attempt.

        Args:
            instance: that was asked; None if no master was known.
            error: of the attempt.
        """
        if self.closed or (self.ended and instance is None):
            raise closed_meanwhile(self.name) from error
        self.quality.failed(error)
        address = None if instance is None else instance.address
        raise_unserved(self.name, address, error, self.advice)

    def raise_unread(self, reading: Reading, error: Exception | None) -> NoReturn:
        """Raise that no replica answered a read with ``read_from="replica"``.

        Args:
            reading: by which rules.
            error: of the last replica that was asked; None if none was.
        """
        self.quality.failed(error or NotSentError())
        raise no_replica(self.name, reading.max_lag, error) from error


S = TypeVar("S", bound=ShardBase[Any])
"""The shards of one of the clients."""


def _nothing() -> None:
    """Do nothing: no replicas are measured."""
