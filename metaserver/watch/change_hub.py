"""The hub of changes: it wakes held watch calls and feeds open event streams.

    change in this process ---\\
                               refresh() --> one Event per pool --> held watches
    poll, 4 times a second ---/         \\--> one queue per stream --> SSE
    (changes of other processes)

One read of the store serves all waiters, and a document is serialized once.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
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
class PublishedDocument:
    """A pool document as JSON text, serialized once for all readers."""

    version: int
    text: str
    shards: frozenset[str] = frozenset()


@dataclass(frozen=True)
class StreamItem:
    """An item of an event stream.

    Attributes:
        name: "document", "status" or "event", as in docs/api.md.
        data: JSON text.
    """

    name: str
    pool: str | None
    data: str


class EventStream:
    """The items that one subscriber has not read yet; None ends the stream."""

    def __init__(self, pool: str | None) -> None:
        self.pool = pool
        self._queue: gevent.queue.Queue[StreamItem | None] = gevent.queue.Queue(_QUEUE)

    def offer(self, item: StreamItem | None) -> bool:
        """Queue an item, if it is of the stream's pool. False: the subscriber lags too far."""
        if item is not None and self.pool is not None and item.pool != self.pool:
            return True
        try:
            self._queue.put_nowait(item)
        except gevent.queue.Full:
            return False
        return True

    def end(self) -> None:
        """End the stream at once, without the items that are queued."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    def finish(self) -> None:
        """End the stream after the items that are queued."""
        if not self.offer(None):
            self.end()

    def items(self, idle: float) -> Iterator[StreamItem | None]:
        """Yield items as they come, and None after each `idle` seconds without one."""
        while True:
            try:
                item = self._queue.get(timeout=idle)
            except gevent.queue.Empty:
                yield None
                continue
            if item is None:
                return
            yield item


class ChangeHub:
    """The held watch calls and event streams of one process, on one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._marker: Hashable = None
        self._documents: dict[str, PublishedDocument] = {}
        self._deleted: set[str] = set()  # pools whose streams are still to be ended
        self._changed: dict[str, gevent.event.Event] = {}
        self._streams: set[EventStream] = set()
        self._last_event = next((event.id for event in store.events(limit=1)), 0)
        self._stopping = False
        self.waiting = 0
        self.on_change: list[Callable[[str], None]] = []  # called with the pool

    def refresh(self) -> None:
        """Look for changes of this and other processes, and pass them on.

        Raises:
            StorageError: the store cannot be read; the next call looks again.
        """
        with self._lock:
            marker = self._store.change_marker()
            if marker == self._marker:
                return
            self._publish_documents(self._store.versions())
            self._publish_events()
            self._finish_streams_of_deleted_pools()
            self._marker = marker

    def nudge(self) -> None:
        """Call `refresh` after a change; if the store cannot be read, the next poll will."""
        try:
            self.refresh()
        except StorageError as error:
            log.warning("passing a change on: %s", error)

    def current(self, pool: str) -> PublishedDocument:
        """Return the pool's current document.

        Raises:
            RequestRefused: pool-not-found.
            StorageError: the store cannot be read.
        """
        self.refresh()
        found = self.known(pool)
        if found is None:
            self._store.document(pool)  # raises if it is there and cannot be read
            raise pool_not_found(pool)
        return found

    def known(self, pool: str) -> PublishedDocument | None:
        """Return the pool's document as of the last refresh; None if there was no such pool."""
        return self._documents.get(pool)

    def wait_newer(self, pool: str, version: int, seconds: float) -> PublishedDocument | None:
        """Wait until the pool's version is above `version`, and return its document.

        Returns:
            The document; None after `seconds`, or when the process stops.

        Raises:
            RequestRefused: pool-not-found, also when the pool is deleted meanwhile.
            StorageError: the store cannot be read.
        """
        deadline = time.monotonic() + seconds
        self.waiting += 1
        try:
            while True:
                found = self.current(pool)
                if found.version > version:
                    return found
                left = deadline - time.monotonic()
                if left <= 0 or self._stopping:
                    return None
                # No greenlet ran since the call of `current`, so no change is missed.
                changed = self._changed.setdefault(pool, gevent.event.Event())
                changed.wait(left)
        finally:
            self.waiting -= 1

    @property
    def stopping(self) -> bool:
        """Whether held calls are to be answered at once."""
        return self._stopping

    @contextmanager
    def stream(self, pool: str | None) -> Iterator[EventStream]:
        """Open a stream of everything that happens to a pool (None: to all) from now on."""
        stream = EventStream(pool)
        self._streams.add(stream)
        if self._stopping:
            stream.end()
        try:
            yield stream
        finally:
            self._streams.discard(stream)

    def streamed(self, pools: Iterable[str]) -> list[str]:
        """Return those of the pools that an open stream shows."""
        wanted = {stream.pool for stream in self._streams}
        return [pool for pool in pools if pool in wanted or None in wanted]

    def publish_status(self, pool: str, status: Mapping[str, Any]) -> None:
        """Pass a pool's status on to the streams."""
        if self._streams:
            self._send(StreamItem("status", pool, json.dumps(status)))

    def stop(self) -> None:
        """End every stream and answer every held watch call, now and from now on."""
        self._stopping = True
        for pool in list(self._documents):
            self._wake(pool)
        for stream in list(self._streams):
            stream.end()

    def _publish_documents(self, versions: Mapping[str, int]) -> None:
        for pool in list(self._documents):
            if pool not in versions:
                del self._documents[pool]
                self._deleted.add(pool)
                self._wake(pool)
        for pool, version in versions.items():
            known = self._documents.get(pool)
            if known is not None and known.version == version:
                continue
            document = self._store.document(pool)
            if document is not None:
                text = document.to_json()
                self._documents[pool] = PublishedDocument(
                    document.version, text, frozenset(document.placement.names)
                )
                self._send(StreamItem("document", pool, text))
                self._wake(pool)

    def _publish_events(self) -> None:
        events = self._store.events(after=self._last_event, limit=_EVENTS_AT_ONCE)
        for event in reversed(events):
            self._send(StreamItem("event", event.pool, json.dumps(event.to_dict())))
            self._last_event = event.id

    def _finish_streams_of_deleted_pools(self) -> None:
        """End the streams that show nothing else, once they have told of the deletion."""
        for stream in list(self._streams):
            if stream.pool in self._deleted:
                stream.finish()
        self._deleted.clear()

    def _wake(self, pool: str) -> None:
        changed = self._changed.pop(pool, None)
        if changed is not None:
            changed.set()
        for tell in self.on_change:
            tell(pool)

    def _send(self, item: StreamItem) -> None:
        for stream in list(self._streams):
            if not stream.offer(item):
                stream.end()
