"""The clients that watch a pool through this process: the version each acts on, and its lease.

watch call --> watch_began() ... held ... --> watch_ended()   the lease runs from either
lease over --> lapsed: remembered, as the client may be frozen or cut off and come back
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from metaserver.domain.client_reports import ClientKey, KnownClient
from metaserver.domain.errors import RequestRefused
from metaserver.process.clock import rfc3339

PER_POOL = 20_000  # clients of all tokens
LAPSED = 5_000  # clients remembered after their lease, of all pools
LAPSED_SECONDS = 24 * 3600.0  # for which they are remembered
_MOST_RECENTLY_LEFT = 20_000  # clients remembered that have left within the last lease


@dataclass(frozen=True, slots=True)
class ClientProcess:
    """What a client says of itself.

    Attributes:
        sdk: name and version of its library.
        host, process: the machine, and the process id there.
        app: the app's own name for it.
        settings: those of the pool that it overrides, in words.
    """

    sdk: str | None = None
    host: str | None = None
    process: int | None = None
    app: str | None = None
    settings: Mapping[str, str] | None = None


UNKNOWN_PROCESS = ClientProcess()


@dataclass(frozen=True, slots=True)
class WatchingClient:
    """A client of a pool.

    Attributes:
        known: what is told of it.
        heard: when its last watch call began or ended, in monotonic seconds.
        held: its watch calls that are held now; with one or more, the client is live.
    """

    known: KnownClient
    heard: float
    held: int = 0


class ClientTable:
    """The clients of one process; greenlets may share it.

    Args:
        lease: seconds for which a client counts as live after a watch call.
        per_token: live clients that one token may have, over all pools. The clients of a token are
            its own: another token's client of the same id is another client.
        owner: the `process_identity()` of this process.
        clock: returns monotonic seconds.

    Attributes:
        changes: how often the table has changed in more than the time of a call.
    """

    def __init__(
        self, lease: float, per_token: int, owner: str, clock: Callable[[], float]
    ) -> None:
        self.lease = lease
        self.changes = 0
        self._per_token = per_token
        self._owner = owner
        self._clock = clock
        self._lock = threading.Lock()
        self._pools: dict[str, dict[ClientKey, WatchingClient]] = {}
        self._resting: dict[tuple[str, ClientKey], float] = {}  # without a held call, by `heard`
        self._lapsed: dict[tuple[str, ClientKey], WatchingClient] = {}  # oldest first
        self._of_token: Counter[str] = Counter()
        self._recently_left: dict[tuple[str, ClientKey], float] = {}

    def watch_began(
        self,
        pool: str,
        client: str,
        version: int,
        address: str,
        stats: Mapping[str, object] | None = None,
        *,
        token: str = "",
        process: ClientProcess = UNKNOWN_PROCESS,
    ) -> bool:
        """Record a watch call: the client acknowledges `version`, and its lease is renewed.

        Returns:
            Whether the client was not live before, so that other processes have to know of it.

        Raises:
            RequestRefused: too-many-clients: the client is new, and there is no room for it.
        """
        key = token, client
        with self._lock:
            if self._recently_left.get((pool, key), -math.inf) > self._clock() - self.lease:
                return False
            self._drop_expired()
            self._resting.pop((pool, key), None)
            old = self._pools.get(pool, {}).get(key)
            if old is None:
                self._make_room(pool, token)
                self._of_token[token] += 1
            table = self._pools.setdefault(pool, {})
            table.pop(key, None)  # the table is in the order of `heard`
            text = old.known.stats if old else None
            if stats is not None:
                text = json.dumps(stats, ensure_ascii=False, separators=(",", ":"))
            known = KnownClient(
                token,
                client,
                version,
                True,
                address,
                process.sdk,
                process.host,
                process.process,
                process.app,
                time.time(),
                self._owner,
                text,
                process.settings or None,
            )
            table[key] = WatchingClient(known, self._clock(), (old.held if old else 0) + 1)
            self._lapsed.pop((pool, key), None)
            if old is None or old.known.version != version:
                self.changes += 1
            return old is None

    def watch_ended(self, pool: str, client: str, *, token: str = "") -> None:
        """Record that a watch call was answered or broke off: the lease runs from now."""
        with self._lock:
            key = token, client
            table = self._pools.get(pool, {})
            old = table.get(key)
            if old is not None:
                known, held = replace(old.known, seen=time.time()), max(0, old.held - 1)
                table[key] = WatchingClient(known, self._clock(), held)
                if not held:
                    self._resting.pop((pool, key), None)
                    self._resting[pool, key] = self._clock()

    def leave(self, pool: str, client: str, *, token: str = "") -> None:
        """Record that a client no longer follows the pool: its lease ends now.

        A watch call of the client that is still in progress does not renew the lease.
        """
        key = token, client
        with self._lock:
            self._drop(pool, [key] if key in self._pools.get(pool, {}) else [])
            self._lapsed.pop((pool, key), None)
            now = self._clock()
            self._recently_left.pop((pool, key), None)
            self._recently_left[pool, key] = now
            self.changes += 1
            oldest = next(iter(self._recently_left))
            while (
                len(self._recently_left) > _MOST_RECENTLY_LEFT
                or self._recently_left[oldest] <= now - self.lease
            ):
                del self._recently_left[oldest]
                oldest = next(iter(self._recently_left))

    def adopt(self, pool: str, clients: Iterable[KnownClient]) -> None:
        """Remember clients of a process that has died, whose leases are over."""
        with self._lock:
            for known in clients:
                if known.key not in self._pools.get(pool, {}):
                    self._remember(pool, WatchingClient(replace(known, live=False), self._clock()))

    def forget_elsewhere(
        self, pool: str, live: Collection[ClientKey], left: Collection[ClientKey]
    ) -> None:
        """Forget clients of which another process knows better.

        Args:
            live: those that are live there; forgotten if their lease here is over.
            left: those that have left there; forgotten unless they call here now.
        """
        with self._lock:
            self._drop_expired()
            table = self._pools.get(pool, {})
            gone = [key for key in left if key in table and not table[key].held]
            self._drop(pool, gone)
            lapsed = [key for key in [*live, *left] if self._lapsed.pop((pool, key), None)]
            if gone or lapsed:
                self.changes += 1

    def live(self, pool: str) -> list[KnownClient]:
        """Return the clients of a pool whose lease has not run out, in order of their last call."""
        with self._lock:
            self._drop_expired()
            return [each.known for each in self._pools.get(pool, {}).values()]

    def lapsed(self, pool: str) -> list[KnownClient]:
        """Return the remembered clients of a pool whose lease is over, the oldest first."""
        with self._lock:
            self._drop_expired()
            return [each.known for (name, _), each in self._lapsed.items() if name == pool]

    def left(self, pool: str) -> list[ClientKey]:
        """Return the clients that have left the pool within the last lease."""
        with self._lock:
            horizon = self._clock() - self.lease
            left = self._recently_left.items()
            return [key for (name, key), at in left if name == pool and at > horizon]

    def pools(self) -> set[str]:
        """Return the pools of which any client is known, or has just left."""
        with self._lock:
            self._drop_expired()
            named = {pool for pool, _ in [*self._lapsed, *self._recently_left]}
            return {*self._pools, *named}

    def count(self, pool: str) -> int:
        """Return how many clients of a pool are live on this process."""
        with self._lock:
            self._drop_expired()
            return len(self._pools.get(pool, {}))

    def _make_room(self, pool: str, token: str) -> None:
        """Make room for a new client, never by dropping a live one. The caller holds the lock."""
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

    def _drop_expired(self) -> None:
        """Have those clients lapse whose lease has run out. The caller holds the lock."""
        horizon = self._clock() - self.lease
        expired = list(takewhile(lambda each: self._resting[each] < horizon, self._resting))
        for pool, key in expired:
            gone = self._pools[pool][key]
            self._drop(pool, [key])
            self._remember(pool, replace(gone, known=replace(gone.known, live=False)))

    def _remember(self, pool: str, client: WatchingClient) -> None:
        self._lapsed.pop((pool, client.known.key), None)
        self._lapsed[pool, client.known.key] = client
        self.changes += 1
        horizon = self._clock() - LAPSED_SECONDS
        while self._lapsed:
            oldest = next(iter(self._lapsed))
            if len(self._lapsed) <= LAPSED and self._lapsed[oldest].heard >= horizon:
                break
            del self._lapsed[oldest]

    def _drop(self, pool: str, keys: Iterable[ClientKey]) -> None:
        for key in keys:
            del self._pools[pool][key]
            self._resting.pop((pool, key), None)
            self._of_token[key[0]] -= 1
            if not self._of_token[key[0]]:
                del self._of_token[key[0]]
        if not self._pools.get(pool):
            self._pools.pop(pool, None)  # the pool may be deleted


def shown(client: KnownClient, metaservers: Mapping[str, str]) -> dict[str, Any]:
    """Return a client as docs/api.md shows it.

    Args:
        metaservers: the addresses of the live processes, by `process_identity()`.
    """
    return {
        "client": client.client,
        "version": client.version,
        "lease": "running" if client.live else "over",
        "seen": None if client.seen is None else rfc3339(client.seen),
        "address": client.address,
        "sdk": client.sdk,
        "host": client.host,
        "process": client.process,
        "app": client.app,
        "metaserver": metaservers.get(client.metaserver, client.metaserver),
        "settings": {} if client.settings is None else dict(client.settings),
        "stats": None if client.stats is None else json.loads(client.stats),
    }
