"""Waking those who wait for a change: held watch calls and open event streams.

    change in this process ---\\
                               refresh() --> one Event per pool --> held watches
    poll, 4 times a second ---/         \\--> one queue per stream --> SSE
    (changes of other processes)

One read of the store serves all who wait, and a document is turned into JSON once.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gevent.event
import gevent.queue

from metaserver.domain.errors import pool_not_found
from metaserver.store import StorageError, Store

_QUEUE = 512  # items a stream may lag behind before it is cut off
_EVENTS_AT_ONCE = 500

log = logging.getLogger("metaserver")


@dataclass(frozen=True)
class Snapshot:
    """A pool document as JSON text, made once for all who wait for it."""

    version: int
    text: str


@dataclass(frozen=True)
class Item:
    """Something for a stream: `name` as in docs/api.md, `data` as JSON text."""

    name: str
    pool: str | None
    data: str


class Stream:
    """What one subscriber has still to be told; None ends it."""

    def __init__(self, pool: str | None) -> None:
        self.pool = pool
        self._queue: gevent.queue.Queue[Item | None] = gevent.queue.Queue(_QUEUE)

    def offer(self, item: Item) -> bool:
        """Queue an item, if it concerns the pool. False: the subscriber lags too far behind."""
        if self.pool is not None and item.pool != self.pool:
            return True
        try:
            self._queue.put_nowait(item)
        except gevent.queue.Full:
            return False
        return True

    def end(self) -> None:
        """Let the reader see the end next, whatever is queued."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    def items(self, idle: float) -> Iterator[Item | None]:
        """Items as they come, None after each `idle` seconds of silence; ends with `end`."""
        while True:
            try:
                item = self._queue.get(timeout=idle)
            except gevent.queue.Empty:
                yield None
                continue
            if item is None:
                return
            yield item


class Hub:
    """All who wait for changes in one store, in one process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._marker: Hashable = None
        self._snapshots: dict[str, Snapshot] = {}
        self._bells: dict[str, gevent.event.Event] = {}
        self._streams: set[Stream] = set()
        self._last_event = next((event.id for event in store.events(limit=1)), 0)
        self._stopping = False
        self.waiting = 0

    def refresh(self) -> None:
        """Look for changes, of this or another process, and tell whoever waits.

        Raises:
            StorageError: the store cannot be read; the next call looks again.
        """
        with self._lock:
            marker = self._store.change_marker()
            if marker == self._marker:
                return
            self._look_at_documents(self._store.versions())
            self._look_at_events()
            self._marker = marker

    def nudge(self) -> None:
        """`refresh` after a change that was made: if it fails, the next poll makes up for it."""
        try:
            self.refresh()
        except StorageError as error:
            log.warning("telling those who wait: %s", error)

    def snapshot(self, pool: str) -> Snapshot:
        """The pool's document as it is now.

        Raises:
            Problem: pool-not-found.
            StorageError: the store cannot be read.
        """
        self.refresh()
        found = self._snapshots.get(pool)
        if found is None:
            raise pool_not_found(pool)
        return found

    def wait_newer(self, pool: str, version: int, seconds: float) -> Snapshot | None:
        """The pool's document once it is above `version`; None after `seconds`, or at the end.

        Raises:
            Problem: pool-not-found, also when the pool is deleted meanwhile.
            StorageError: the store cannot be read.
        """
        deadline = time.monotonic() + seconds
        self.waiting += 1
        try:
            while True:
                found = self.snapshot(pool)
                if found.version > version:
                    return found
                left = deadline - time.monotonic()
                if left <= 0 or self._stopping:
                    return None
                # No greenlet ran since the look at the snapshot, so no ring is missed.
                bell = self._bells.setdefault(pool, gevent.event.Event())
                bell.wait(left)
        finally:
            self.waiting -= 1

    @contextmanager
    def stream(self, pool: str | None) -> Iterator[Stream]:
        """Everything that happens to a pool (None: to all) from now on."""
        stream = Stream(pool)
        self._streams.add(stream)
        if self._stopping:
            stream.end()
        try:
            yield stream
        finally:
            self._streams.discard(stream)

    def streamed(self, pools: Iterable[str]) -> list[str]:
        """Those of the pools whose status somebody wants to see as it comes."""
        wanted = {stream.pool for stream in self._streams}
        return [pool for pool in pools if pool in wanted or None in wanted]

    def status(self, pool: str, status: Mapping[str, Any]) -> None:
        """Pass a pool's status on to the streams."""
        if self._streams:
            self._send(Item("status", pool, json.dumps(status)))

    def stop(self) -> None:
        """End every stream and answer every held watch, now and from now on."""
        self._stopping = True
        for bell in list(self._bells.values()):
            bell.set()
        for stream in list(self._streams):
            stream.end()

    def _look_at_documents(self, versions: Mapping[str, int]) -> None:
        for pool in list(self._snapshots):
            if pool not in versions:
                del self._snapshots[pool]
                self._ring(pool)
        for pool, version in versions.items():
            known = self._snapshots.get(pool)
            if known is not None and known.version == version:
                continue
            document = self._store.document(pool)
            if document is not None:
                text = document.to_json()
                self._snapshots[pool] = Snapshot(document.version, text)
                self._send(Item("document", pool, text))
                self._ring(pool)

    def _look_at_events(self) -> None:
        events = self._store.events(after=self._last_event, limit=_EVENTS_AT_ONCE)
        for event in reversed(events):
            self._send(Item("event", event.pool, json.dumps(event.to_dict())))
            self._last_event = event.id

    def _ring(self, pool: str) -> None:
        bell = self._bells.pop(pool, None)
        if bell is not None:
            bell.set()

    def _send(self, item: Item) -> None:
        for stream in list(self._streams):
            if not stream.offer(item):
                stream.end()
