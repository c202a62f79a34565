"""The clients that watch: who they are, which version they act on, until when they count.

Every process keeps its own table in memory, fed by the watch calls it answers. What it knows of
the slowest client of each pool it also publishes in the store, for the one process that sweeps.

    watch call --> seen() ... (held) ... --> released()      lease runs from the last of these
    sweeper    --> all_acknowledged(pool, version)?          own table + what others published
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from metaserver.clock import rfc3339
from metaserver.leader import process_identity, process_is_alive
from metaserver.store import Store

_PER_POOL = 20_000  # clients; beyond this the longest unseen one makes room


@dataclass(frozen=True)
class Client:
    """A client of a pool: the version it acknowledged, and when it was last heard of.

    `heard` is on the monotonic clock, `seen` in seconds since the epoch. `held` counts its watch
    calls that are waiting right now: while there is one, the client is there.
    """

    client: str
    version: int
    address: str
    stats: Mapping[str, object] | None
    heard: float
    seen: float
    held: int = 0

    def to_dict(self) -> dict[str, object]:
        """The client as docs/api.md shows it."""
        return {
            "client": self.client,
            "version": self.version,
            "seen": rfc3339(self.seen),
            "address": self.address,
            "stats": self.stats,
        }


class Clients:
    """The table of one process. `lease` in seconds; safe to share between greenlets."""

    def __init__(
        self,
        store: Store,
        lease: float,
        *,
        owner: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lease = lease
        self._store = store
        self._owner = owner or process_identity()
        self._clock = clock
        self._lock = threading.Lock()
        self._pools: dict[str, dict[str, Client]] = {}
        self._published: Mapping[str, int] | None = None
        self._left: dict[tuple[str, str], float] = {}
        self._gone: dict[str, float] = {}  # owner that died -> when that was noticed

    def seen(
        self,
        pool: str,
        client: str,
        version: int,
        address: str,
        stats: Mapping[str, object] | None = None,
    ) -> None:
        """A watch call came in: it acknowledges `version` and renews the lease."""
        with self._lock:
            if (pool, client) in self._left:
                return
            table = self._pools.setdefault(pool, {})
            old = table.pop(client, None)
            if old is None and len(table) >= _PER_POOL:
                del table[next(iter(table))]
            table[client] = Client(
                client,
                version,
                address,
                stats if stats is not None or old is None else old.stats,
                self._clock(),
                time.time(),
                (old.held if old else 0) + 1,
            )

    def released(self, pool: str, client: str) -> None:
        """Its watch call was answered, or broke off; the lease runs from now."""
        with self._lock:
            table = self._pools.get(pool, {})
            old = table.get(client)
            if old is not None:
                table[client] = replace(
                    old, held=max(0, old.held - 1), heard=self._clock(), seen=time.time()
                )

    def left(self, pool: str, client: str) -> None:
        """It said that it follows the pool no more; its lease ends here.

        A watch call of it that is still under way does not bring it back.
        """
        with self._lock:
            self._pools.get(pool, {}).pop(client, None)
            horizon = self._clock() - self.lease
            self._left = {name: at for name, at in self._left.items() if at > horizon}
            self._left[pool, client] = self._clock()

    def live(self, pool: str) -> list[Client]:
        """The clients of a pool whose lease has not run out, the longest known first."""
        with self._lock:
            table = self._pools.get(pool, {})
            horizon = self._clock() - self.lease
            for name in [n for n, c in table.items() if not c.held and c.heard < horizon]:
                del table[name]
            return list(table.values())

    def count(self, pool: str) -> int:
        """How many clients of a pool are live on this process."""
        return len(self.live(pool))

    def all_acknowledged(self, pool: str, version: int) -> bool:
        """Whether every live client of the pool, on any process, acts on `version` or later.

        The clients of a process that died count for one more lease, since they may still act on
        what it told them.

        Raises:
            StorageError: what the others published cannot be read.
        """
        if any(client.version < version for client in self.live(pool)):
            return False
        published = self._store.acks()
        for owner, pools in published.items():
            if owner == self._owner or pools.get(pool, version) >= version:
                continue
            if process_is_alive(owner):
                return False
            if self._clock() - self._gone.setdefault(owner, self._clock()) < self.lease:
                return False
        return True

    def publish(self) -> None:
        """Tell the other processes the lowest version per pool, if that changed.

        Raises:
            StorageError: the store cannot be written; the next call tries again.
        """
        lowest: dict[str, int] = {}
        for pool in list(self._pools):
            versions = [client.version for client in self.live(pool)]
            if versions:
                lowest[pool] = min(versions)
        if lowest != self._published:
            self._store.publish_acks(self._owner, lowest)
            self._published = lowest

    def forget_dead(self) -> None:
        """Clear away what processes published that died more than a lease ago.

        Raises:
            StorageError: the store cannot be read or written; the next call tries again.
        """
        for owner in self._store.acks():
            if owner == self._owner or process_is_alive(owner):
                continue
            if self._clock() - self._gone.setdefault(owner, self._clock()) >= self.lease:
                self._store.forget_acks(owner)
                del self._gone[owner]
