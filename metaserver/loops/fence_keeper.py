"""Keeping fences up until the last fenced client has acknowledged.

each second, for each pool with a fence: all have acknowledged, and nobody else is connected?
    yes --> remove the markers, then the fence from the document
    no  --> marker and killing again, at every master, also at one that was promoted meanwhile
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

from cachemesh.core.errors import CacheMeshError
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.fence_record import FenceRecord, fence_of, without_fence
from metaserver.domain.pool_state import PoolState
from metaserver.domain.resize import resize_of
from metaserver.domain.resize_steps import named
from metaserver.loops.keyed_workers import KeyedWorkers
from metaserver.loops.resize_shards import ResizeShards
from metaserver.loops.resized_clients import ResizedClients
from metaserver.process.clock import ElapsedTimes
from metaserver.store import StorageError, Store

log = logging.getLogger("metaserver")

EVERY = 1.0  # seconds between two rounds
KEPT = 24 * 3600.0  # seconds after which a client that has not acknowledged is given up
_AT_ONCE = 8  # pools


class FenceKeeper:
    """Keeps the fences of every pool; arguments as `metaserver.loops.resize.Resizer`."""

    def __init__(
        self,
        store: Store,
        clients: ResizedClients,
        shards: ResizeShards,
        *,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._clients = clients
        self._shards = shards
        self._changed = changed
        self._up = ElapsedTimes()  # by pool and version

    def run(self, stop: threading.Event) -> None:
        """Keep fences until `stop` is set."""
        with KeyedWorkers("fence", _AT_ONCE) as workers:
            while not stop.is_set():
                pools = self._fenced()
                workers.begin({f"pool {each}": partial(self._keep, each) for each in pools})
                stop.wait(EVERY)

    def _fenced(self) -> list[str]:
        try:
            documents = self._store.documents()
        except StorageError as error:
            log.error("fence: %s", error)
            return []
        records = {each.pool: record for each in documents if (record := _record(each)) is not None}
        keys = [(pool, record.version) for pool, record in records.items()]
        self._up.keep(keys)
        return list(records)

    def _keep(self, pool: str) -> None:
        state = self._store.state(pool)
        record = None if state is None else _record(state.document)
        if state is None or record is None:
            return
        acknowledged = self._clients.acknowledged(pool, record.version)
        late = record.left(acknowledged)
        too_long = self._up.since_first((pool, record.version)) > KEPT
        if not late or too_long:
            seen = self._shards.look_at_fenced(state, record)
            connected = {each for found in seen.given.values() for each in found.clients}
            strangers = [each for each in connected if each not in acknowledged]
            gone = _gone(state, record)
            ended = too_long or (not strangers and set(seen.failed) <= gone)
            # A resize may be about to fence the same shards.
            if ended and resize_of(state.document) is None:
                self._lift(state, record, late)
                return
        self._shards.fence_again(state, record, acknowledged)

    def _lift(self, state: PoolState, record: FenceRecord, late: tuple[str, ...]) -> None:
        """Remove the markers, then the fence from the document; a failure has both done again."""
        lifted = self._shards.lift(state, record)
        if set(lifted.failed) - _gone(state, record):
            return
        document = state.document
        why = f"{named(late)} did not for a day" if late else "every client has acknowledged"
        event = NewEvent("resize.fence-lifted", pool=document.pool, detail=why)
        stored = self._store.put_document(without_fence(document), document.version, event)
        if stored is not None:
            self._changed()


def _record(document: PoolDocument) -> FenceRecord | None:
    try:
        return fence_of(document)
    except CacheMeshError as error:
        log.error("fence of pool %s: %s", document.pool, error)
        return None


def _gone(state: PoolState, record: FenceRecord) -> set[str]:
    """Return those of the shards that have left the pool and hold no key of it any more."""
    swept = {sweep.shard for sweep in state.sweeps}
    return {
        shard for shard in record.masters if shard not in state.document.placement.names
    } - swept
