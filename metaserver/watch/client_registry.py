"""The registry of clients that watch a pool: the version each acts on, and its lease.

Every process keeps its own table in memory, fed by the watch calls that it answers. For the one
process that sweeps, each publishes in the store the lowest version that its clients act on.

    watch call --> watch_began() ... held ... --> watch_ended()   the lease runs from either
    sweep      --> all_acknowledged(pool, version)?               own table + what others published
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

from metaserver.domain.errors import RequestRefused
from metaserver.process.clock import ElapsedTimes, rfc3339
from metaserver.process.identity import process_identity, process_is_alive
from metaserver.store import Store

PER_POOL = 20_000  # clients of all tokens
_MOST_RECENTLY_LEFT = 20_000  # clients remembered that have left within the last lease
_CLEAR_EVERY = 1.0  # seconds between two looks for room in a full table

Key: TypeAlias = "tuple[str, str]"  # id of the token, name of the client


@dataclass(frozen=True, slots=True)
class WatchingClient:
    """A client of a pool.

    Attributes:
        client: its name.
        version: the version that it has acknowledged.
        address: the IP address of its last watch call.
        stats: its statistics as JSON text.
        heard: when its last watch call began or ended, in monotonic seconds.
        seen: the same in seconds since the epoch.
        held: its watch calls that are held now; with one or more, the client is live.
    """

    client: str
    version: int
    address: str
    stats: str | None
    heard: float
    seen: float
    held: int = 0

    def to_dict(self) -> dict[str, object]:
        """Return the client as docs/api.md shows it."""
        return {
            "client": self.client,
            "version": self.version,
            "seen": rfc3339(self.seen),
            "address": self.address,
            "stats": None if self.stats is None else json.loads(self.stats),
        }


class ClientRegistry:
    """The clients of one process; greenlets may share it.

    Args:
        store: where the lowest version of each pool is published.
        lease: seconds for which a client counts as live after a watch call.
        per_token: live clients that one token may have, over all pools. The clients of a token are
            its own: another token's client of the same name is another client.
        owner: the `process_identity()` of this process.
        clock: returns monotonic seconds.
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
        self._pools: dict[str, dict[Key, WatchingClient]] = {}
        self._of_token: Counter[str] = Counter()
        self._cleared = -math.inf
        self._published: Mapping[str, int] | None = None
        self._recently_left: dict[tuple[str, Key], float] = {}
        self._since_death = ElapsedTimes(clock)  # of other processes

    def watch_began(
        self,
        pool: str,
        client: str,
        version: int,
        address: str,
        stats: Mapping[str, object] | None = None,
        *,
        token: str = "",
    ) -> None:
        """Record a watch call: the client acknowledges `version`, and its lease is renewed.

        Raises:
            RequestRefused: too-many-clients: the client is new, and there is no room for it.
        """
        key = token, client
        with self._lock:
            if self._recently_left.get((pool, key), -math.inf) > self._clock() - self.lease:
                return
            old = self._pools.get(pool, {}).get(key)
            if old is None:
                self._make_room(pool, token)
                self._of_token[token] += 1
            table = self._pools.setdefault(pool, {})
            table.pop(key, None)  # the table is in the order of `heard`
            text = old.stats if old else None
            if stats is not None:
                text = json.dumps(stats, ensure_ascii=False, separators=(",", ":"))
            table[key] = WatchingClient(
                client,
                version,
                address,
                text,
                self._clock(),
                time.time(),
                (old.held if old else 0) + 1,
            )

    def watch_ended(self, pool: str, client: str, *, token: str = "") -> None:
        """Record that a watch call was answered or broke off: the lease runs from now."""
        with self._lock:
            table = self._pools.get(pool, {})
            old = table.get((token, client))
            if old is not None:
                table[token, client] = replace(
                    old, held=max(0, old.held - 1), heard=self._clock(), seen=time.time()
                )

    def leave(self, pool: str, client: str, *, token: str = "") -> None:
        """Record that a client no longer follows the pool: its lease ends now.

        A watch call of the client that is still in progress does not renew the lease.
        """
        key = token, client
        with self._lock:
            self._drop(pool, [key] if key in self._pools.get(pool, {}) else [])
            now = self._clock()
            self._recently_left.pop((pool, key), None)
            self._recently_left[pool, key] = now
            oldest = next(iter(self._recently_left))
            while (
                len(self._recently_left) > _MOST_RECENTLY_LEFT
                or self._recently_left[oldest] <= now - self.lease
            ):
                del self._recently_left[oldest]
                oldest = next(iter(self._recently_left))

    def _make_room(self, pool: str, token: str) -> None:
        """Make room for a new client, never by dropping a live one. The caller holds the lock."""
        if self._has_room(pool, token):
            return
        if self._clock() - self._cleared >= _CLEAR_EVERY:
            self._cleared = self._clock()
            for name in list(self._pools):
                self._drop_expired(name)
        if not self._has_room(pool, token):
            raise RequestRefused(
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
            self._pools.pop(pool, None)  # the pool may be deleted

    def live(self, pool: str) -> list[WatchingClient]:
        """Return the clients of a pool whose lease has not run out, in order of their last call."""
        with self._lock:
            self._drop_expired(pool)
            return list(self._pools.get(pool, {}).values())

    def count(self, pool: str) -> int:
        """Return how many clients of a pool are live on this process."""
        return len(self.live(pool))

    def all_acknowledged(self, pool: str, version: int) -> bool:
        """Return whether every live client of the pool, on any process, acts on `version` or later.

        The clients of a process that died count for one more lease, as they may still act on the
        version that the process gave them.

        Raises:
            StorageError: the versions of other processes cannot be read.
        """
        if any(client.version < version for client in self.live(pool)):
            return False
        published = self._store.acks()
        for owner, pools in published.items():
            if owner == self._owner or pools.get(pool, version) >= version:
                continue
            if process_is_alive(owner):
                return False
            if self._since_death.since_first(owner) < self.lease:
                return False
        return True

    def publish(self) -> None:
        """Publish the lowest version of each pool for other processes, if that changed.

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
        """Delete what was published by processes that died more than a lease ago.

        Raises:
            StorageError: the store cannot be read or written; the next call tries again.
        """
        owners = set(self._store.acks()) - {self._owner}
        dead = {owner for owner in owners if not process_is_alive(owner)}
        self._since_death.keep(dead)
        for owner in dead:
            if self._since_death.since_first(owner) >= self.lease:
                self._store.forget_acks(owner)
