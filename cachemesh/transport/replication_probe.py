"""Measures how far replicas are behind, and finds out when an instance serves again.

    Prober of each client -- one thread for all that are alike
        --PING, INFO replication--> masters, then replicas
        --offsets--> LagMeter of the shard, one in each client
        --serves, or not--> Window of the instance, one in each client

Connections that are missing are made by a second thread, so an instance that does not answer
keeps nobody else waiting.
"""

from __future__ import annotations

import itertools
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
from cachemesh.transport.measured_instance import LATE_SECONDS, Target, View

REPLY_SECONDS = 0.05
"""How long a round waits for replies; later ones are taken in by a later round."""

DEAD_SECONDS = 5.0
"""No reply for so long is a connection that leads nowhere."""

_FAST_ROUNDS = 0.02  # seconds between rounds while somebody waits, or not all were heard of

_FAILED = (*redis_py.NOT_CONNECTED, OSError)


class MeasuredShard(Protocol):
    """One shard, as far as measuring goes."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def meter(self) -> LagMeter:
        """Told by others who is master; fed here."""

    def instances(self) -> tuple[Readable | None, Sequence[Readable]]:
        """The master, if known, and the replicas."""


class Prober:
    """Has one client's shards measured, from the first `measure_every` on until `stop`.

    Args:
        shards: a method of the client, which is held weakly: its shards by now. When the client
            is gone, measuring ends.
        connect: makes a redis-py connection, whatever the instance's role; raises as
            `cachemesh.transport.sync.handshake.connect`. Must not hold the client.
        same: clients of this process for which it is equal have the same shards, and connect alike;
            they share one thread, and one connection to each instance. None: for this one alone.
    """

    def __init__(
        self,
        shards: Callable[[], Iterable[MeasuredShard]],
        connect: Callable[[Address], Any],
        same: Hashable = None,
    ) -> None:
        self._shards = weakref.WeakMethod(shards)
        self._connect = connect
        self._key = next(_keys)
        self._same = self._key if same is None else (same,)
        self.forget()

    def forget(self) -> None:
        """In a forked child: the threads and connections are the parent's."""
        self._run: _Run | None = None
        self._interval = float("inf")

    def measure_every(self, seconds: float) -> None:
        """Measure at least so often from now on. Cheap when it does already. Any thread."""
        if self._run is not None and seconds >= self._interval:
            return
        with _runs.lock:
            self._interval = min(seconds, self._interval)
            run = self._run or _runs.running.get(self._same)
            if run is None:
                run = _runs.running[self._same] = _Run(self._same, self._connect)
                run.join(self._key, self._shards, self._interval)
                run.start()
            else:
                run.join(self._key, self._shards, self._interval)
            self._run = run

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
        """Measure no more; after the last client the threads hang up and end soon.

        A later `measure_every` begins anew.
        """
        with _runs.lock:
            run, self._run = self._run, None
            self._interval = float("inf")
            if run is not None:
                run.leave(self._key)


class _Run:
    """One thread's life, and whom it measures for. All but `_measure` with ``_runs.lock`` held."""

    def __init__(self, same: Hashable, connect: Callable[[Address], Any]) -> None:
        self.interval = float("inf")
        self.ended = threading.Event()
        self.wanted = threading.Event()
        self.complete = threading.Event()
        self._same = same
        self._connect = connect
        self._members: dict[int, tuple[_Shards, float]] = {}
        self._joined = self._joined_before = 0
        self._targets: dict[tuple[str, Address], Target] = {}
        self._connecting: threading.Thread | None = None

    def start(self) -> None:
        """Start it."""
        threading.Thread(target=self._measure, name="cachemesh-replication", daemon=True).start()

    def join(self, key: int, shards: _Shards, interval: float) -> None:
        """Measure for this client too; or for the same one, more often."""
        if key not in self._members:
            self._joined += 1
            self.complete.clear()
        self._members[key] = shards, interval
        self.interval = min(every for _, every in self._members.copy().values())
        self.wanted.set()

    def leave(self, key: int) -> None:
        """No more for this one."""
        self._members.pop(key, None)
        if self._members:
            self.interval = min(every for _, every in self._members.copy().values())
        else:
            self._end()

    def _end(self) -> None:
        self.ended.set()
        self.wanted.set()
        if _runs.running.get(self._same) is self:
            del _runs.running[self._same]

    def _measure(self) -> None:
        try:
            while not self.ended.is_set():
                begun = time.monotonic()
                if not self._find_targets():
                    break
                self._round()
                self._pause(begun)
        finally:
            with _runs.lock:
                self._end()
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
        """Whom to ask by now; False if nobody wants to know any more."""
        with _runs.lock:
            members = dict(self._members)
            self._joined_before = self._joined
        found: dict[tuple[str, Address], list[View]] = {}
        for key, (weak, _) in members.items():
            shards = weak()
            if shards is None:
                with _runs.lock:
                    self.leave(key)
                continue
            for shard in shards():
                master, replicas = shard.instances()
                for instance in (*replicas, *(() if master is None else (master,))):
                    view = View(instance, shard.meter, instance is master)
                    found.setdefault((shard.name, instance.address), []).append(view)
        for at in self._targets.keys() - found.keys():
            self._drop(self._targets.pop(at))
        for at, views in found.items():
            target = self._targets.get(at)
            if target is None:
                target = self._targets[at] = Target(at[1])
            target.show(views)
        return not self.ended.is_set()

    def _drop(self, target: Target) -> None:
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
            with _runs.lock:
                if self._joined == self._joined_before:  # else for one it was not yet
                    self.complete.set()

    def _ask(self, target: Target) -> bool:
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

    def _hear(self, target: Target) -> bool:
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

    def _hear_all(self, waiting: list[Target], until: float) -> None:
        """Take in each reply as soon as it comes."""
        while True:
            waiting = [t for t in waiting if not self._hear(t) and t.connection is not None]
            left = until - time.monotonic()
            if not waiting or left <= 0:
                return
            poller = select.poll()
            for target in waiting:
                poller.register(redis_py.socket_of(target.connection), select.POLLIN)
            poller.poll(left * 1000)

    def _connect_missing(self, targets: list[Target]) -> None:
        now = time.monotonic()
        due = [target for target in targets if target.connect_at <= now and not target.refused]
        if not due or (self._connecting is not None and self._connecting.is_alive()):
            return
        self._connecting = threading.Thread(
            target=self._connect_all, args=(due,), name="cachemesh-reconnect", daemon=True
        )
        self._connecting.start()

    def _connect_all(self, targets: list[Target]) -> None:
        """Body of the second thread: one attempt for each."""
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


class _Runs:
    """Those of this process. A forked child starts with none."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a garbage collection within it may stop a prober
        self.running: dict[Hashable, _Run] = {}


_Shards: TypeAlias = "weakref.WeakMethod[Callable[[], Iterable[MeasuredShard]]]"
_runs = _Runs()
_keys = itertools.count()


def _after_fork_in_child() -> None:
    global _runs
    _runs = _Runs()


os.register_at_fork(after_in_child=_after_fork_in_child)
