"""The clients that watch: who they are, which version they act on, until when they count.

Every process keeps its own table in memory, fed by the watch calls it answers. What it knows of
the slowest client of each pool it also publishes in the store, for the one process that sweeps.

    watch call --> seen() ... (held) ... --> released()      lease runs from the last of these
    sweeper    --> all_acknowledged(pool, version)?          own table + what others published
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from metaserver.domain.errors import Problem
from metaserver.loops.leader_election import process_identity, process_is_alive
from metaserver.process.clock import Ages, rfc3339
from metaserver.store import Store

PER_POOL = 20_000  # clients of all tokens
_LEFT = 20_000  # clients that have said good-bye within the last lease
_CLEAR_EVERY = 1.0  # seconds between two looks for room in a full table

Key: TypeAlias = "tuple[str, str]"  # id of the token, name of the client


@dataclass(frozen=True, slots=True)
class Client:
    """A client of a pool: the version it acknowledged, and when it was last heard of.

    `heard` is on the monotonic clock, `seen` in seconds since the epoch. `held` counts its watch
    calls that are waiting right now: while there is one, the client is there. `stats` is JSON.
    """

    client: str
    version: int
    address: str
    stats: str | None
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
            "stats": None if self.stats is None else json.loads(self.stats),
        }


class Clients:
    """The table of one process; safe to share between greenlets.

    Args:
        store: where the slowest client of each pool is published.
        lease: seconds.
        per_token: live clients of one token, over all pools. Each token has clients of its own:
            none can speak for those of another.
        owner: this process, `process_identity()`.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        lease: float,
        *,
        per_token: int = 10_000,
        owner: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lease = lease
        self._per_token = per_token
        self._store = store
        self._owner = owner or process_identity()
        self._clock = clock
        self._lock = threading.Lock()
        self._pools: dict[str, dict[Key, Client]] = {}
        self._of_token: Counter[str] = Counter()
        self._cleared = -math.inf
        self._published: Mapping[str, int] | None = None
        self._left: dict[tuple[str, Key], float] = {}
        self._gone = Ages(clock)  # of processes that died

    def seen(
        self,
        pool: str,
        client: str,
        version: int,
        address: str,
        stats: Mapping[str, object] | None = None,
        *,
        token: str = "",
    ) -> None:
        """A watch call came in: it acknowledges `version` and renews the lease.

        Raises:
            Problem: too-many-clients: it is a new client, and there is no room for it.
        """
        key = token, client
        with self._lock:
            if self._left.get((pool, key), -math.inf) > self._clock() - self.lease:
                return
            old = self._pools.get(pool, {}).get(key)
            if old is None:
                self._find_room(pool, token)
                self._of_token[token] += 1
            table = self._pools.setdefault(pool, {})
            table.pop(key, None)  # the table is in the order in which they were heard
            text = old.stats if old else None
            if stats is not None:
                text = json.dumps(stats, ensure_ascii=False, separators=(",", ":"))
            table[key] = Client(
                client,
                version,
                address,
                text,
                self._clock(),
                time.time(),
                (old.held if old else 0) + 1,
            )

    def released(self, pool: str, client: str, *, token: str = "") -> None:
        """Its watch call was answered, or broke off; the lease runs from now."""
        with self._lock:
            table = self._pools.get(pool, {})
            old = table.get((token, client))
            if old is not None:
                table[token, client] = replace(
                    old, held=max(0, old.held - 1), heard=self._clock(), seen=time.time()
                )

    def left(self, pool: str, client: str, *, token: str = "") -> None:
        """It said that it follows the pool no more; its lease ends here.

        A watch call of it that is still under way does not bring it back.
        """
        key = token, client
        with self._lock:
            self._drop(pool, [key] if key in self._pools.get(pool, {}) else [])
            now = self._clock()
            self._left.pop((pool, key), None)
            self._left[pool, key] = now
            oldest = next(iter(self._left))
            while len(self._left) > _LEFT or self._left[oldest] <= now - self.lease:
                del self._left[oldest]
                oldest = next(iter(self._left))

    def _find_room(self, pool: str, token: str) -> None:
        """Called with the lock held. Nobody who is live is ever put out: a sweep waits for it."""
        if self._has_room(pool, token):
            return
        if self._clock() - self._cleared >= _CLEAR_EVERY:
            self._cleared = self._clock()
            for name in list(self._pools):
                self._drop_expired(name)
        if not self._has_room(pool, token):
            raise Problem(
                "too-many-clients",
                f"Of this token there are {self._of_token[token]} live clients (at most "
                f"{self._per_token}), in pool {pool!r} {len(self._pools.get(pool, {}))} of all "
                f"tokens (at most {PER_POOL})",
                "raise --max-clients of the metaserver, or use several tokens",
            )

    def _has_room(self, pool: str, token: str) -> bool:
        in_pool = len(self._pools.get(pool, {}))
        return in_pool < PER_POOL and self._of_token[token] < self._per_token

    def _drop_expired(self, pool: str) -> None:
        table = self._pools.get(pool, {})
        horizon = self._clock() - self.lease
        self._drop(pool, [key for key, c in table.items() if not c.held and c.heard < horizon])

    def _drop(self, pool: str, keys: Iterable[Key]) -> None:
        for key in keys:
            del self._pools[pool][key]
            self._of_token[key[0]] -= 1
            if not self._of_token[key[0]]:
                del self._of_token[key[0]]
        if not self._pools.get(pool):
            self._pools.pop(pool, None)  # the pool may be no more

    def live(self, pool: str) -> list[Client]:
        """The clients of a pool whose lease has not run out, the longest known first."""
        with self._lock:
            self._drop_expired(pool)
            return list(self._pools.get(pool, {}).values())

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
            if self._gone.of(owner) < self.lease:
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
        owners = set(self._store.acks()) - {self._owner}
        dead = {owner for owner in owners if not process_is_alive(owner)}
        self._gone.keep(dead)
        for owner in dead:
            if self._gone.of(owner) >= self.lease:
                self._store.forget_acks(owner)
