"""What the moves of several sources in one stage read from the store and write there."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping

from cachemesh.core.plurals import counted
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain import resize_move
from metaserver.domain.move_progress import MoveProgress
from metaserver.domain.pool_state import PoolState
from metaserver.domain.resize import Resize, resize_of, waiting
from metaserver.store import StorageError, Store

log = logging.getLogger("metaserver")

_LOOK_EVERY = 0.02  # seconds between two looks at the store


class StageMove:
    """What the moves of several sources read from the store and write there, one at a time.

    Args:
        put: stores the next document, as `Resizer._store_phase`.
    """

    def __init__(
        self,
        store: Store,
        state: PoolState,
        stop: threading.Event,
        put: Callable[[PoolState, PoolDocument, str, str], bool],
    ) -> None:
        self._store, self._stop, self._put = store, stop, put
        self._pool = state.document.pool
        self._version = state.document.version
        self._lock = threading.Lock()
        self._looked = -math.inf
        self._over = False

    def cancelled(self) -> bool:
        """Return whether the process stops, or somebody else has changed the document."""
        with self._lock:
            now = time.monotonic()
            if not self._over and now - self._looked >= _LOOK_EVERY:
                self._looked = now
                self._over = self._store.versions().get(self._pool) != self._version
            return self._over or self._stop.is_set()

    def state(self) -> tuple[PoolState, Resize] | None:
        """Return the pool and its resize; None if somebody else has changed the document."""
        state = self._store.state(self._pool)
        resize = None if state is None else resize_of(state.document)
        if state is None or resize is None or state.document.version != self._version:
            return None
        return state, resize

    def tell(self, progress: MoveProgress) -> None:
        """Publish how far the sources are; keys move on where the store does not take it."""
        try:
            self._store.publish_progress(self._pool, progress.to_dict())
        except StorageError as error:
            log.warning("resize of pool %s: its progress is not published: %s", self._pool, error)

    def waits(self, shard: str, why: str) -> None:
        """Store why keys cannot be moved from a shard, unless that is known."""
        log.warning("resize of pool %s: shard %s: %s", self._pool, shard, why)
        reason = f"keys cannot be moved from shard {shard}: {why}"
        with self._lock:
            now = self.state()
            if now is None or now[1].reason == reason:
                return
            state, resize = now
            document = waiting(state.document, resize, reason)
            if self._put(state, document, "resize.waits", reason):
                self._version += 1

    def replicated(self, replicas: Mapping[str, int]) -> bool:
        """Store of how many replicas of some shards an acknowledgement is waited for from now on.

        Returns:
            Whether it was stored.
        """
        told = ", ".join(
            f"shard {shard} has a replica again: it is waited for"
            if count
            else f"shard {shard} has no replica any more: none is waited for"
            for shard, count in sorted(replicas.items())
        )
        with self._lock:
            now = self.state()
            if now is None:
                return False
            state, resize = now
            document = resize_move.with_replicas(state.document, resize, replicas)
            stored = self._put(state, document, "resize.replicas", f"{resize.summary}: {told}")
            self._version += stored
            return stored

    def source_done(self, shard: str, moved: int) -> None:
        """Store that a shard has no key left that moves from it."""
        with self._lock:
            now = self.state()
            if now is None:
                return
            state, resize = now
            detail = f"{resize.summary}: {counted(moved, 'key')} moved from {shard}"
            document = resize_move.source_done(state.document, resize, shard, moved)
            if self._put(state, document, "resize.source-done", detail):
                self._version += 1
