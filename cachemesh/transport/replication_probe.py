"""Measures how far replicas are behind, and finds out when an instance serves again.

Prober of each client --> Rounds: one thread for all clients that are alike
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from cachemesh.core.names import Address
from cachemesh.transport.replication_rounds import MeasuredShard, Rounds, running

_keys = itertools.count()


class Prober:
    """Has one client's shards measured, from the first `measure_every` on until `stop`.

    Args:
        shards: a method of the client that returns its shards of now. The client is held weakly;
            when it is gone, measuring ends.
        connect: returns a redis-py connection to an instance of any role; raises as
            `cachemesh.transport.sync.handshake.connect`. Must not hold the client.
        same: clients of this process for which this is equal have the same shards, and connect
            alike. They share one thread, and one connection to each instance. None: this client
            shares with no other.
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
        """Forget the threads and connections, which are the parent's in a forked child."""
        self._rounds: Rounds | None = None
        self._interval = float("inf")

    def measure_every(self, seconds: float) -> None:
        """Measure at least so often from now on. Cheap if so already. From any thread.

        Args:
            seconds: the longest time between two measurements.
        """
        if self._rounds is not None and seconds >= self._interval:
            return
        with running.lock:
            self._interval = min(seconds, self._interval)
            rounds = self._rounds or running.by_kind.get(self._same)
            if rounds is None:
                rounds = running.by_kind[self._same] = Rounds(self._same, self._connect)
                rounds.join(self._key, self._shards, self._interval)
                rounds.start()
            else:
                rounds.join(self._key, self._shards, self._interval)
            self._rounds = rounds

    def wait(self, seconds: float) -> bool:
        """Wait until all instances have answered once, or are known not to serve.

        Args:
            seconds: the longest wait.

        Returns:
            False if that takes longer.
        """
        rounds = self._rounds
        return rounds is not None and rounds.complete.wait(seconds)

    def hurry(self) -> None:
        """Measure now, because a read is waiting for a replica to catch up.

        Any thread may call this.
        """
        rounds = self._rounds
        if rounds is not None:
            rounds.wanted.set()

    def stop(self) -> None:
        """Measure no more. After the last client the threads close their connections and end soon.

        A later `measure_every` begins anew.
        """
        with running.lock:
            rounds, self._rounds = self._rounds, None
            self._interval = float("inf")
            if rounds is not None:
                rounds.leave(self._key)
