"""Follows a pool over one stream of the metaserver, for every browser that watches the pool.

    metaserver --/v1/stream--> PoolFeed (one thread) --PoolSnapshot--> stream to browser 1
                                                          \\---------> stream to browser 2 ...

A feed that no browser has asked for `IDLE_SECONDS` ends by itself.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, TypeVar

from cachemesh.core.errors import MetaserverError, MetaserverUnavailableError
from dashboard.history import SAMPLES, SPACING_SECONDS, History, HistorySample, past_samples
from dashboard.upstream import (
    EVENT_LIMIT,
    UPSTREAM_ERRORS,
    Json,
    OperatorProblem,
    Upstream,
    problem_of,
)

IDLE_SECONDS = 120.0
POOLS_EVERY_SECONDS = 5.0
QUALITY_EVERY_SECONDS = 2.0
BACKOFF_SECONDS = (0.3, 4.0)  # first and longest delay between attempts
_NEXT_SECONDS = 0.05  # until the next metaserver is asked, when a stream has ended in order

_Made = TypeVar("_Made")


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class PoolSnapshot:
    """What is known of a pool at one moment.

    Attributes:
        serial: rises with every change; 0: the metaserver has sent nothing yet.
        pools: all pools, as `/v1/pools` lists them.
        document, status, events: of the pool; events newest first.
        quality: what apps feel of the pool.
        samples: the pool's figures of the last minutes.
        connected: whether the stream of the metaserver is open.
        since: when `connected` last changed.
        last_data: when the metaserver last sent a status that it had not sent before.
        problem: why the stream broke; None while it is open.
    """

    serial: int = 0
    pools: tuple[Json, ...] = ()
    document: Json | None = None
    status: Json | None = None
    events: tuple[Json, ...] = ()
    quality: Json | None = None
    samples: tuple[HistorySample, ...] = ()
    connected: bool = False
    since: datetime = field(default_factory=_now)
    last_data: datetime | None = None
    problem: OperatorProblem | None = None

    @property
    def fatal(self) -> bool:
        """Whether the token or the pool is gone, so that a further attempt would not help."""
        return self.problem is not None and self.problem.lasts


class PoolFeed:
    """Follows one pool with one token, on a thread of its own, and has the latest snapshot.

    Args:
        upstream: the metaserver, with the token.
        pool: the pool's name.
    """

    def __init__(self, upstream: Upstream, pool: str) -> None:
        self._upstream = upstream
        self._pool = pool
        self._history = History()
        self._changed = threading.Condition()
        self._snapshot = PoolSnapshot()
        self._last_asked = time.monotonic()
        self._pools_read = self._quality_read = 0.0
        self._stop = threading.Event()
        self._making = threading.RLock()
        self._made: dict[int, dict[tuple[object, ...], Any]] = {}
        self._thread = threading.Thread(target=self._run, name=f"feed-{pool}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Have the thread end at the next message or delay, without waiting for that."""
        self._stop.set()

    @property
    def alive(self) -> bool:
        """Whether the feed still follows its pool."""
        return self._thread.is_alive() and not self._stop.is_set()

    def wait(self, serial: int, timeout: float) -> PoolSnapshot:
        """Return the latest snapshot; wait up to `timeout` seconds for one newer than `serial`."""
        with self._changed:
            self._last_asked = time.monotonic()
            self._changed.wait_for(lambda: self._snapshot.serial > serial, timeout)
            self._last_asked = time.monotonic()
            return self._snapshot

    def shared(self, serial: int, key: tuple[object, ...], make: Callable[[], _Made]) -> _Made:
        """Return what `make` makes of a snapshot, made once for all browsers that show it.

        Results are kept for the two latest snapshots.

        Args:
            serial: of the snapshot.
            key: what else the result depends on.
            make: makes the result; it may call this method.
        """
        with self._making:
            for old in [each for each in self._made if each < serial - 1]:
                del self._made[old]
            made = self._made.setdefault(serial, {})
            if key not in made:
                made[key] = make()
            result: _Made = made[key]
            return result

    def _run(self) -> None:
        delay, longest = BACKOFF_SECONDS
        while not self._ended():
            try:
                self._load()
                delay = BACKOFF_SECONDS[0]
                if self._follow() and not self._stop.wait(_NEXT_SECONDS):
                    continue  # a metaserver that stops ends its streams; another one may answer
                error: OperatorProblem = problem_of(MetaserverUnavailableError("the stream ended"))
            except UPSTREAM_ERRORS as failure:
                error = problem_of(failure)
            if self._ended():
                return
            self._lost(error)
            if error.lasts:
                self._stop.set()
                return
            self._stop.wait(delay * random.uniform(0.7, 1.3))
            delay = min(delay * 2, longest)

    def _load(self) -> None:
        """Read everything about the pool once, and publish it as connected."""
        status = self._upstream.status(self._pool)
        document = self._upstream.document(self._pool)
        events = tuple(self._upstream.events(self._pool))
        pools = tuple(self._upstream.pools())
        quality = self._upstream.quality(self._pool)
        self._pools_read = self._quality_read = time.monotonic()
        if not self._history.samples():
            self._history.begin_with(self._past())
        self._history.add(self._pools_read, status)
        self._heard(
            replace(
                self._snapshot,
                status=status,
                document=document,
                events=events,
                pools=pools,
                quality=quality,
            )
        )

    def _past(self) -> list[HistorySample]:
        """Return samples of the last minutes; none from an earlier release, or if nobody leads."""
        seconds = round(SAMPLES * SPACING_SECONDS)
        try:
            history = self._upstream.history(self._pool, seconds=seconds, step=5)
        except MetaserverError:
            return []
        return past_samples(time.monotonic(), history)

    def _follow(self) -> bool:
        """Take what the stream brings until it ends; return whether it brought anything."""
        heard = False
        for name, data in self._upstream.stream(self._pool):
            if self._ended():
                break
            if not heard:  # What happened after `_load` and before the stream is in neither.
                events = tuple(self._upstream.events(self._pool))
                self._heard(replace(self._snapshot, events=events))
            heard = True
            if name == "status":
                self._take_status(data)
            elif name == "document":
                self._heard(replace(self._snapshot, document=data))
            elif name == "event":
                self._take_event(data)
        return heard

    def _take_status(self, status: Json) -> None:
        now = time.monotonic()
        self._history.add(now, status)
        pools, quality = self._snapshot.pools, self._snapshot.quality
        if now - self._pools_read >= POOLS_EVERY_SECONDS:
            pools = tuple(self._upstream.pools())
            self._pools_read = now
        if now - self._quality_read >= QUALITY_EVERY_SECONDS:
            quality = self._upstream.quality(self._pool)
            self._quality_read = now
        self._heard(replace(self._snapshot, status=status, pools=pools, quality=quality))

    def _take_event(self, event: Json) -> None:
        known = self._snapshot.events
        if all(each.get("id") != event.get("id") for each in known):
            self._heard(replace(self._snapshot, events=(event, *known)[:EVENT_LIMIT]))

    def _heard(self, news: PoolSnapshot) -> None:
        """Publish news. They are as current as the status, which may be an old one sent again."""
        before, now = self._snapshot.status, news.status
        if before is None or now is None or before.get("at") != now.get("at"):
            news = replace(news, last_data=_now())
        self._publish(replace(news, problem=None), connected=True)

    def _lost(self, problem: OperatorProblem) -> None:
        self._publish(replace(self._snapshot, problem=problem), connected=False)

    def _publish(self, news: PoolSnapshot, *, connected: bool) -> None:
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
