"""Measures how far replicas are behind, and finds out when an instance serves again.

    Prober (a thread) --PING, INFO replication--> masters, then replicas
                      --offsets--> LagMeter of the shard
                      --serves, or not--> Window of the instance

Connections that are missing are made by a second thread, so an instance that does not answer
keeps nobody else waiting.
"""

from __future__ import annotations

import logging
import select
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import redis

from cachemesh.core.lag import LagMeter
from cachemesh.core.names import Address
from cachemesh.core.reading import Readable
from cachemesh.core.role import QUESTIONS, standing
from cachemesh.transport import adapter
from cachemesh.transport.handshake import understood

logger = logging.getLogger("cachemesh.transport")

REPLY_SECONDS = 0.05
"""How long a round waits for replies; later ones are taken in by a later round."""

LATE_SECONDS, DEAD_SECONDS = 1.0, 5.0
"""No reply for so long is a failure; for so long, a connection that leads nowhere."""

RECONNECT_SECONDS = 0.5
_FAST_ROUNDS = 0.02  # seconds between rounds while somebody waits, or not all were heard of

_FAILED = (*adapter.NOT_CONNECTED, OSError)


class MeasuredShard(Protocol):
    """One shard, as far as measuring goes."""

    @property
    def shard(self) -> str:
        """Its name."""

    @property
    def meter(self) -> LagMeter:
        """Told by others who is master; fed here."""

    def instances(self) -> tuple[Readable | None, Sequence[Readable]]:
        """The master, if known, and the replicas."""


@dataclass(eq=False)
class _Target:
    """A connection to one instance, and where what it says goes."""

    instance: Readable
    meter: LagMeter
    is_master: bool
    connection: Any = None
    questions: list[tuple[str, ...]] = field(default_factory=lambda: list(QUESTIONS))
    asked: float | None = None  # when, if the reply is still to come
    late: bool = False
    refused: bool = False  # by the thread that connects
    connect_at: float = 0.0
    heard: bool = False  # whether it serves is known
    gone: bool = False

    def ask(self) -> None:
        """Send the questions; raises as redis-py does."""
        self.asked = time.monotonic()
        packed = adapter.pack_all([("PING",), *self.questions[:1]])
        self.connection.send_packed_command([packed], check_health=False)

    def hear(self) -> None:
        """Take in the replies if they have come; raises as redis-py does."""
        if self.asked is None or not self.connection.can_read(timeout=0):
            return
        serves = not isinstance(self._reply(), redis.exceptions.ResponseError)
        if self.questions:
            serves = self._told(self._reply()) and serves
        now = time.monotonic()
        took = now - self.asked
        if serves and took < LATE_SECONDS and self.instance.window.failures:
            self.instance.window.succeeded(now, took)
        self.asked, self.late, self.heard = None, False, True

    def _reply(self) -> Any:
        try:
            with understood():
                return self.connection.read_response(disconnect_on_error=False)
        except redis.exceptions.NoPermissionError:
            return None
        except redis.ConnectionError as error:
            if type(error) is redis.ConnectionError:
                raise
            return redis.exceptions.ResponseError(str(error))  # such as LOADING
        except redis.exceptions.ResponseError as error:
            return error

    def _told(self, reply: Any) -> bool:
        """Take it in; whether the instance has, as far as is known, what its master has."""
        address = self.instance.address
        if reply is None:
            del self.questions[0]  # the user must not ask this
            if not self.questions:
                logger.warning(
                    "%s denies INFO and ROLE, so nobody knows what replicas have: max_lag and own "
                    "writes leave the master alone to be read; grant the user +info or +role",
                    address,
                )
        told = standing(address, reply)
        if told is None or self.asked is None:
            self.meter.forget(address)
            return True
        if told.is_master != self.is_master:
            self.meter.forget(address)
            return False
        if told.is_master:
            self.meter.master_at(address, told.history, self.asked, told.offset)
            return True
        self.meter.replica_at(address, told.history, told.offset)
        return not self.meter.lacks(address)

    def failed(self) -> None:
        """The connection broke, or could not be made."""
        self.close()
        self.connect_at = time.monotonic() + RECONNECT_SECONDS
        self.meter.forget(self.instance.address)
        self.missed()

    def missed(self) -> None:
        """It does not serve."""
        self.instance.window.failed(time.monotonic())
        self.heard = True

    def close(self) -> None:
        """Hang up."""
        connection, self.connection = self.connection, None
        self.asked, self.late = None, False
        if connection is not None:
            connection.disconnect()


class Prober:
    """Measures for one client, from the first `measure_every` on until `stop`.

    Args:
        shards: a method of the client, which is held weakly: its shards by now. When the client
            is gone, measuring ends.
        connect: makes a redis-py connection, whatever the instance's role; raises as
            `adapter.connect`. Must not hold the client.
    """

    def __init__(
        self, shards: Callable[[], Iterable[MeasuredShard]], connect: Callable[[Address], Any]
    ) -> None:
        self._shards = weakref.WeakMethod(shards)
        self._connect = connect
        self.forget()

    def forget(self) -> None:
        """In a forked child: the threads and connections are the parent's."""
        self._lock = threading.Lock()
        self._run: _Run | None = None
        self._interval = float("inf")

    def measure_every(self, seconds: float) -> None:
        """Measure at least so often from now on. Cheap when it does already. Any thread."""
        if self._run is not None and seconds >= self._interval:
            return
        with self._lock:
            self._interval = min(seconds, self._interval)
            if self._run is None:
                self._run = _Run(self._shards, self._connect)
                self._run.start()
            self._run.interval = self._interval

    def wait(self, seconds: float) -> bool:
        """Wait until all instances have been heard of once; False if they were not in time."""
        run = self._run
        return run is not None and run.complete.wait(seconds)

    def hurry(self) -> None:
        """Somebody waits for a replica to have caught up: measure now. Any thread."""
        run = self._run
        if run is not None:
            run.wanted.set()

    def stop(self) -> None:
        """End measuring; the threads hang up and end soon. A later `measure_every` begins anew."""
        with self._lock:
            run, self._run = self._run, None
            self._interval = float("inf")
        if run is not None:
            run.ended.set()
            run.wanted.set()


class _Run:
    """One thread's life."""

    def __init__(
        self,
        shards: weakref.WeakMethod[Callable[[], Iterable[MeasuredShard]]],
        connect: Callable[[Address], Any],
    ) -> None:
        self.interval = 0.5
        self.ended = threading.Event()
        self.wanted = threading.Event()
        self.complete = threading.Event()
        self._shards = shards
        self._connect = connect
        self._targets: dict[tuple[str, Address], _Target] = {}
        self._connecting: threading.Thread | None = None

    def start(self) -> None:
        """Start it."""
        threading.Thread(target=self._measure, name="cachemesh-replication", daemon=True).start()

    def _measure(self) -> None:
        try:
            while not self.ended.is_set():
                begun = time.monotonic()
                if not self._find_targets():
                    break
                self._round()
                self._pause(begun)
        finally:
            self.ended.set()
            for target in self._targets.values():
                target.gone = True
                target.close()

    def _pause(self, begun: float) -> None:
        """Wait until the next round is due, or wanted and not too soon after the last."""
        pause = self.interval if self.complete.is_set() else _FAST_ROUNDS
        if self.wanted.wait(max(pause - (time.monotonic() - begun), pause / 10)):
            self.ended.wait(max(0.0, begun + _FAST_ROUNDS - time.monotonic()))
            self.wanted.clear()

    def _find_targets(self) -> bool:
        """Whom to ask by now; False if the client is gone."""
        shards = self._shards()
        if shards is None:
            return False
        found: dict[tuple[str, Address], _Target] = {}
        for shard in shards():
            master, replicas = shard.instances()
            for instance in (*replicas, *(() if master is None else (master,))):
                key = shard.shard, instance.address
                target = self._targets.pop(key, None)
                if target is None or target.meter is not shard.meter:
                    if target is not None:
                        self._drop(target)
                    target = _Target(instance, shard.meter, instance is master)
                target.instance, target.is_master = instance, instance is master
                found[key] = target
        for target in self._targets.values():
            self._drop(target)
        self._targets = found
        return True

    def _drop(self, target: _Target) -> None:
        target.gone = True
        target.close()

    def _round(self) -> None:
        """Ask the masters, then the replicas, which by then have what the masters told of."""
        targets = list(self._targets.values())
        for masters in (True, False):
            some = [target for target in targets if target.is_master is masters]
            asked = [target for target in some if self._ask(target)]
            self._hear_all(asked, time.monotonic() + REPLY_SECONDS)
        self._connect_missing([target for target in targets if target.connection is None])
        if not self.complete.is_set() and all(target.heard for target in targets):
            self.complete.set()

    def _ask(self, target: _Target) -> bool:
        """Whether it was asked just now; a reply that is late is taken in if it has come."""
        if target.refused:
            target.refused = False
            target.failed()
        if target.connection is None:
            return False
        if target.asked is not None and not self._hear(target):
            return False
        try:
            target.ask()
        except _FAILED:
            target.failed()
            return False
        return True

    def _hear(self, target: _Target) -> bool:
        """Whether it has answered."""
        try:
            target.hear()
        except _FAILED:
            target.failed()
            return False
        if target.asked is None:
            return True
        waited = time.monotonic() - target.asked
        if waited > DEAD_SECONDS:
            target.failed()
        elif waited > LATE_SECONDS and not target.late:
            target.late = True
            target.missed()
        return False

    def _hear_all(self, waiting: list[_Target], until: float) -> None:
        """Take in each reply as soon as it comes."""
        while True:
            waiting = [t for t in waiting if not self._hear(t) and t.connection is not None]
            left = until - time.monotonic()
            if not waiting or left <= 0:
                return
            poller = select.poll()
            for target in waiting:
                poller.register(adapter.socket_of(target.connection), select.POLLIN)
            poller.poll(left * 1000)

    def _connect_missing(self, targets: list[_Target]) -> None:
        now = time.monotonic()
        due = [target for target in targets if target.connect_at <= now and not target.refused]
        if not due or (self._connecting is not None and self._connecting.is_alive()):
            return
        self._connecting = threading.Thread(
            target=self._connect_all, args=(due,), name="cachemesh-reconnect", daemon=True
        )
        self._connecting.start()

    def _connect_all(self, targets: list[_Target]) -> None:
        """Body of the second thread: one attempt for each."""
        for target in targets:
            if self.ended.is_set():
                return
            try:
                connection = self._connect(target.instance.address)
            except _FAILED:
                target.refused = True
                continue
            target.connection = connection
            if target.gone or self.ended.is_set():
                connection.disconnect()
