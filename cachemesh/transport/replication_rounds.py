"""The rounds of questions to instances that one thread asks for all clients that are alike.

    thread --PING, INFO replication--> masters, then replicas
           --offsets--> LagMeter of the shard, one in each client
           --serves, or not--> LoadWindow of the instance, one in each client

A second thread makes connections that are missing, so that an instance which does not answer delays
no round.
"""

from __future__ import annotations

import os
import select
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from cachemesh.core.names import Address
from cachemesh.core.reads.read_preference import Readable
from cachemesh.core.reads.replication_lag import LagMeter
from cachemesh.transport import redis_py
from cachemesh.transport.measured_instance import LATE_SECONDS, ClientInstance, MeasuredInstance

REPLY_SECONDS = 0.05
"""Seconds that a round waits for replies. A later round takes in those that come later."""

DEAD_SECONDS = 5.0
"""Seconds without a reply after which a connection is taken for dead."""

_FAST_ROUNDS = 0.02  # seconds between rounds while a read waits, or not all have answered

_FAILED = (*redis_py.NOT_CONNECTED, OSError)


class MeasuredShard(Protocol):
    """A shard, as far as measuring goes."""

    @property
    def name(self) -> str:
        """The name of the shard."""

    @property
    def meter(self) -> LagMeter:
        """The meter that is fed here. Others tell it the master."""

    def instances(self) -> tuple[Readable | None, Sequence[Readable]]:
        """Return the master, if known, and the replicas."""


class Rounds:
    """One thread's rounds, and the clients that they are for.

    Callers of `start`, `join` and `leave` hold ``running.lock``.

    Args:
        same: clients for which this is equal share the rounds.
        connect: returns a redis-py connection to an instance of any role.

    Attributes:
        interval: seconds between two rounds.
        ended: set when there are no more rounds.
        wanted: set when a round is wanted soon.
        complete: set when all instances have answered once, or are known not to serve.
    """

    def __init__(self, same: Hashable, connect: Callable[[Address], Any]) -> None:
        self.interval = float("inf")
        self.ended = threading.Event()
        self.wanted = threading.Event()
        self.complete = threading.Event()
        self._same = same
        self._connect = connect
        self._members: dict[int, tuple[ClientShards, float]] = {}
        self._joined = self._joined_before = 0
        self._targets: dict[tuple[str, Address], MeasuredInstance] = {}
        self._connecting: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._measure, name="cachemesh-replication", daemon=True).start()

    def join(self, key: int, shards: ClientShards, interval: float) -> None:
        """Measure for a client too; or for the same client, more often."""
        if key not in self._members:
            self._joined += 1
            self.complete.clear()
        self._members[key] = shards, interval
        self.interval = min(every for _, every in self._members.copy().values())
        self.wanted.set()

    def leave(self, key: int) -> None:
        """Measure no more for a client. After the last one the thread ends."""
        self._members.pop(key, None)
        if self._members:
            self.interval = min(every for _, every in self._members.copy().values())
        else:
            self._end()

    def _end(self) -> None:
        self.ended.set()
        self.wanted.set()
        if running.by_kind.get(self._same) is self:
            del running.by_kind[self._same]

    def _measure(self) -> None:
        try:
            while not self.ended.is_set():
                begun = time.monotonic()
                if not self._find_targets():
                    break
                self._round()
                self._pause(begun)
        finally:
            with running.lock:
                self._end()
            for target in self._targets.values():
                self._drop(target)

    def _pause(self, begun: float) -> None:
        """Wait until the next round is due, or is wanted and not too soon after the last one."""
        pause = self.interval if self.complete.is_set() else _FAST_ROUNDS
        if self.wanted.wait(max(pause - (time.monotonic() - begun), pause / 10)):
            self.ended.wait(max(0.0, begun + _FAST_ROUNDS - time.monotonic()))
            self.wanted.clear()

    def _find_targets(self) -> bool:
        """Find the instances of all clients; return False if no client is left."""
        with running.lock:
            members = dict(self._members)
            self._joined_before = self._joined
        found: dict[tuple[str, Address], list[ClientInstance]] = {}
        for key, (weak, _) in members.items():
            shards = weak()
            if shards is None:
                with running.lock:
                    self.leave(key)
                continue
            for shard in shards():
                master, replicas = shard.instances()
                for instance in (*replicas, *(() if master is None else (master,))):
                    view = ClientInstance(instance, shard.meter, instance is master)
                    found.setdefault((shard.name, instance.address), []).append(view)
        for at in self._targets.keys() - found.keys():
            self._drop(self._targets.pop(at))
        for at, views in found.items():
            target = self._targets.get(at)
            if target is None:
                target = self._targets[at] = MeasuredInstance(at[1])
            target.show(views)
        return not self.ended.is_set()

    def _drop(self, target: MeasuredInstance) -> None:
        target.gone = True
        target.close()

    def _round(self) -> None:
        """Ask the masters, then the replicas, which by then have applied what the masters count."""
        targets = list(self._targets.values())
        for masters in (True, False):
            some = [target for target in targets if target.is_master is masters]
            asked = [target for target in some if self._ask(target)]
            self._hear_all(asked, time.monotonic() + REPLY_SECONDS)
        self._connect_missing([target for target in targets if target.connection is None])
        if not self.complete.is_set() and all(target.heard for target in targets):
            with running.lock:
                if self._joined == self._joined_before:  # else for one it was not yet
                    self.complete.set()

    def _ask(self, target: MeasuredInstance) -> bool:
        """Ask an instance, unless a reply is still to come; return whether it was asked."""
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

    def _hear(self, target: MeasuredInstance) -> bool:
        """Take in the reply if it has come; return whether the instance has answered."""
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

    def _hear_all(self, waiting: list[MeasuredInstance], until: float) -> None:
        """Take in each reply as soon as it comes, for so long."""
        while True:
            waiting = [t for t in waiting if not self._hear(t) and t.connection is not None]
            left = until - time.monotonic()
            if not waiting or left <= 0:
                return
            poller = select.poll()
            for target in waiting:
                poller.register(redis_py.socket_of(target.connection), select.POLLIN)
            poller.poll(left * 1000)

    def _connect_missing(self, targets: list[MeasuredInstance]) -> None:
        now = time.monotonic()
        due = [target for target in targets if target.connect_at <= now and not target.refused]
        if not due or (self._connecting is not None and self._connecting.is_alive()):
            return
        self._connecting = threading.Thread(
            target=self._connect_all, args=(due,), name="cachemesh-reconnect", daemon=True
        )
        self._connecting.start()

    def _connect_all(self, targets: list[MeasuredInstance]) -> None:
        """Connect to each once. Body of the second thread."""
        for target in targets:
            if self.ended.is_set():
                return
            try:
                connection = self._connect(target.address)
            except _FAILED:
                target.refused = True
                continue
            target.connection = connection
            if target.gone or self.ended.is_set():
                connection.disconnect()


class _Running:
    """The rounds of this process. A forked child starts with none."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a garbage collection within may stop a prober
        self.by_kind: dict[Hashable, Rounds] = {}


ClientShards: TypeAlias = "weakref.WeakMethod[Callable[[], Iterable[MeasuredShard]]]"
"""A method of a client that returns its shards. The client is held weakly."""

running = _Running()


def _after_fork_in_child() -> None:
    running.lock = threading.RLock()
    running.by_kind = {}


os.register_at_fork(after_in_child=_after_fork_in_child)
