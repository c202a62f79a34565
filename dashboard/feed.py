"""One upstream stream per pool and token, shared by every browser that watches.

    metaserver --/v1/stream--> Feed (one thread) --Snapshot--> stream to browser 1
                                                          \\--> stream to browser 2 ...

A feed that nobody asked for during `IDLE_SECONDS` ends by itself.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from cachemesh.core.errors import MetaserverUnavailableError
from dashboard.history import History, Sample
from dashboard.upstream import EVENT_LIMIT, UPSTREAM_ERRORS, Json, Problem, Upstream, problem_of

IDLE_SECONDS = 120.0
POOLS_EVERY_SECONDS = 5.0
BACKOFF_SECONDS = (0.3, 4.0)  # first and longest pause between attempts
FATAL_CODES = frozenset({"unauthorized", "pool-not-found"})

Rendered = dict[str, str]


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Snapshot:
    """What is known of a pool. `serial` rises with every change; 0: nothing was heard yet.

    `since` is when `connected` last changed; `last_data` when the metaserver last spoke.
    """

    serial: int = 0
    pools: tuple[Json, ...] = ()
    document: Json | None = None
    status: Json | None = None
    events: tuple[Json, ...] = ()
    samples: tuple[Sample, ...] = ()
    connected: bool = False
    since: datetime = field(default_factory=_now)
    last_data: datetime | None = None
    problem: Problem | None = None

    @property
    def fatal(self) -> bool:
        """The token or the pool is gone: trying again would not help."""
        return self.problem is not None and self.problem.code in FATAL_CODES


class Feed:
    """Follows one pool with one token and hands out the latest `Snapshot`."""

    def __init__(self, upstream: Upstream, pool: str) -> None:
        self._upstream = upstream
        self._pool = pool
        self._history = History()
        self._changed = threading.Condition()
        self._snapshot = Snapshot()
        self._last_asked = time.monotonic()
        self._pools_read = 0.0
        self._stop = threading.Event()
        self._making = threading.Lock()
        self._made: dict[tuple[object, ...], Rendered] = {}
        self._thread = threading.Thread(target=self._run, name=f"feed-{pool}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End at the next message or pause; does not wait."""
        self._stop.set()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._stop.is_set()

    def wait(self, serial: int, timeout: float) -> Snapshot:
        """The latest snapshot, waiting up to `timeout` seconds for one newer than `serial`."""
        with self._changed:
            self._last_asked = time.monotonic()
            self._changed.wait_for(lambda: self._snapshot.serial > serial, timeout)
            self._last_asked = time.monotonic()
            return self._snapshot

    def shared(self, key: tuple[object, ...], make: Callable[[], Rendered]) -> Rendered:
        """What `make` gives, made once for a key however many browsers ask.

        Only the latest two are kept: one for each role.
        """
        with self._making:
            if key not in self._made:
                while len(self._made) >= 2:
                    del self._made[next(iter(self._made))]
                self._made[key] = make()
            return self._made[key]

    def _run(self) -> None:
        pause, longest = BACKOFF_SECONDS
        while not self._ended():
            try:
                self._load()
                pause = BACKOFF_SECONDS[0]
                self._follow()
                error: Problem = problem_of(MetaserverUnavailableError("the stream ended"))
            except UPSTREAM_ERRORS as failure:
                error = problem_of(failure)
            if self._ended():
                return
            self._lost(error)
            if error.code in FATAL_CODES:
                self._stop.set()
                return
            self._stop.wait(pause * random.uniform(0.7, 1.3))
            pause = min(pause * 2, longest)

    def _load(self) -> None:
        """Read all there is once, then say that the feed is connected."""
        status = self._upstream.status(self._pool)
        document = self._upstream.document(self._pool)
        events = tuple(self._upstream.events(self._pool))
        pools = tuple(self._upstream.pools())
        self._pools_read = time.monotonic()
        self._history.add(self._pools_read, status)
        self._heard(
            replace(self._snapshot, status=status, document=document, events=events, pools=pools)
        )

    def _follow(self) -> None:
        for name, data in self._upstream.stream(self._pool):
            if self._ended():
                return
            if name == "status":
                self._take_status(data)
            elif name == "document":
                self._heard(replace(self._snapshot, document=data))
            elif name == "event":
                self._take_event(data)

    def _take_status(self, status: Json) -> None:
        now = time.monotonic()
        self._history.add(now, status)
        pools = self._snapshot.pools
        if now - self._pools_read >= POOLS_EVERY_SECONDS:
            pools = tuple(self._upstream.pools())
            self._pools_read = now
        self._heard(replace(self._snapshot, status=status, pools=pools))

    def _take_event(self, event: Json) -> None:
        known = self._snapshot.events
        if all(each.get("id") != event.get("id") for each in known):
            self._heard(replace(self._snapshot, events=(event, *known)[:EVENT_LIMIT]))

    def _heard(self, news: Snapshot) -> None:
        self._publish(replace(news, last_data=_now(), problem=None), connected=True)

    def _lost(self, problem: Problem) -> None:
        self._publish(replace(self._snapshot, problem=problem), connected=False)

    def _publish(self, news: Snapshot, *, connected: bool) -> None:
        with self._changed:
            before = self._snapshot
            self._snapshot = replace(
                news,
                serial=before.serial + 1,
                samples=self._history.samples(),
                connected=connected,
                since=before.since if connected == before.connected else _now(),
            )
            self._changed.notify_all()

    def _ended(self) -> bool:
        idle = time.monotonic() - self._last_asked > IDLE_SECONDS
        if idle:
            self._stop.set()
        return self._stop.is_set()


class Hub:
    """The feeds of this process, by token and pool."""

    def __init__(self, connect: Callable[[str], Upstream]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._feeds: dict[tuple[str, str], Feed] = {}

    def feed(self, token: str, pool: str) -> Feed:
        """The running feed of this pool for this token, started if there is none."""
        with self._lock:
            self._feeds = {key: each for key, each in self._feeds.items() if each.alive}
            feed = self._feeds.get((token, pool))
            if feed is None:
                feed = Feed(self._connect(token), pool)
                feed.start()
                self._feeds[token, pool] = feed
            return feed

    def forget(self, token: str) -> None:
        """End every feed of a token that no session uses any more."""
        with self._lock:
            for key in [key for key in self._feeds if key[0] == token]:
                self._feeds.pop(key).stop()
