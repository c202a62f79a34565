"""Resizes: the leader takes each from phase to phase, as `metaserver.domain.resize_steps` decides.

    document with a resize --> next_step --> clear | look | fence | store the next phase --> ...

Every phase is in the document, so that a later leader goes on. The loop is woken by changes of this
process and by watch calls that acknowledge, and looks by itself for those of other processes.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import redis

from cachemesh.core.errors import CacheMeshError
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.fence_record import FenceRecord
from metaserver.domain.lost_shard import lost_masters
from metaserver.domain.pool_pause import is_paused
from metaserver.domain.pool_state import PoolState
from metaserver.domain.resize import (
    Resize,
    ends_in,
    finished,
    held,
    masters_of,
    prepared,
    resize_of,
    stepped_back,
    sweeps_after,
    waiting,
)
from metaserver.domain.resize_move import following, moving, regaining, stage_sources
from metaserver.domain.resize_status import how_done, of_stage, outcome, why_refused
from metaserver.domain.resize_steps import (
    Begin,
    Clear,
    FenceOff,
    FenceOutcome,
    Finish,
    Knowledge,
    Laggards,
    Look,
    MoveKeys,
    Prepare,
    PrepareNext,
    RemoveStale,
    StepBack,
    Wait,
    named,
    next_step,
)
from metaserver.loops.keyed_workers import KeyedWorkers
from metaserver.loops.resize_shards import ResizeShards
from metaserver.loops.resized_clients import ResizeBells, ResizedClients
from metaserver.loops.source_moves import SourceMoves
from metaserver.loops.stage_move import StageMove
from metaserver.store import StorageError, Store

log = logging.getLogger("metaserver")

_IDLE = 0.1  # seconds between two looks for resizes of other processes
_AT_ONCE = 64  # resizes, one for each pool; most of their time they wait
_LOOK_AGAIN = 0.02  # seconds between two looks at the clients of other processes
_MOVES_AGAIN = 0.02  # seconds after a move that has ended or was cancelled
_RETRY = 1.0  # seconds after a failure, such as of a shard that cannot be cleared


@dataclass
class _AtVersion:
    """What the leader has seen and done at one version of a document; fields as in `Knowledge`."""

    version: int
    since: float
    jitter: float = field(default_factory=random.random)
    cleared: bool = False
    strangers: tuple[str, ...] | None = None
    looked_early: bool = False
    marked: bool = False
    unseen: tuple[tuple[str, str], ...] = ()
    replicas: Mapping[str, int] = field(default_factory=dict)
    fence: FenceOutcome | None = None
    fenced: FenceRecord | None = None
    all_moved: bool | None = None
    masterships: Mapping[str, str] = field(default_factory=dict)
    without_stale: bool = False
    restarted: tuple[str, ...] = ()


class Resizer:
    """Carries out every resize.

    Args:
        shards: clears, looks at and fences shards.
        moves: moves the keys of a stage.
        changed: called after each change of a document; must not raise.
        bells: wake the loop.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        clients: ResizedClients,
        shards: ResizeShards,
        moves: SourceMoves,
        *,
        changed: Callable[[], None],
        bells: ResizeBells | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._clients = clients
        self._shards = shards
        self._moves = moves
        self._changed = changed
        self._clock = clock
        self._seen: dict[str, _AtVersion] = {}
        self._bells = bells or ResizeBells()

    def run(self, stop: threading.Event) -> None:
        """Carry out resizes until `stop` is set."""
        with KeyedWorkers("resize", _AT_ONCE) as workers:
            while not stop.is_set():
                rung = self._bells.changed.rung
                pools = self._pools()
                workers.begin({f"pool {each}": partial(self._work, each, stop) for each in pools})
                self._bells.changed.wait(rung, _IDLE)

    def _pools(self) -> list[str]:
        try:
            documents = self._store.documents()
        except StorageError as error:
            log.error("resize: %s", error)
            return []
        return [each.pool for each in documents if _is_resized(each)]

    def _work(self, pool: str, stop: threading.Event) -> None:
        """Go on with the resize of a pool until it is over."""
        while not stop.is_set():
            rung, began = self._bells.acknowledged.rung, self._clock()
            try:
                wait = self.step(pool, stop)
            except (redis.RedisError, CacheMeshError) as error:
                log.warning("resize of pool %s: %s", pool, error)
                wait = _RETRY
            if wait is None:
                self._seen.pop(pool, None)
                return
            if wait > 0:
                # Not all clients are read again for each one of thousands that acknowledges.
                stop.wait(min(wait, 2 * (self._clock() - began)))
                self._bells.acknowledged.wait(rung, min(wait, _LOOK_AGAIN))

    def step(self, pool: str, stop: threading.Event) -> float | None:
        """Take one step; return the seconds until the next, or None if there is none."""
        state = self._store.state(pool)
        resize = None if state is None else resize_of(state.document)
        if state is None or resize is None:
            return None
        version = state.document.version
        seen = self._seen.get(pool)
        if seen is None or seen.version != version:
            seen = self._seen[pool] = _AtVersion(version, self._clock())
        step = next_step(resize, self._known(state.document, resize, seen))
        if isinstance(step, Wait):
            return step.seconds
        if isinstance(step, Clear):
            return self._clear(state, resize, seen, stop)
        if isinstance(step, RemoveStale):
            return self._remove_stale(state, resize, seen, stop)
        if isinstance(step, MoveKeys):
            return self._move_keys(state, resize, stop)
        if isinstance(step, Finish):
            return self._finish(state, resize, seen)
        if isinstance(step, FenceOff):
            self._fence(state, resize, seen, step.clients)
        elif isinstance(step, StepBack):
            self._step_back(state, held(resize, self._clock() - seen.since), step.reason)
        else:
            begin: dict[type, Callable[[PoolState, Resize, _AtVersion], None]] = {
                Look: self._look,
                Prepare: self._prepare,
                Begin: self._begin_moving,
                PrepareNext: self._prepare_next,
            }
            begin[type(step)](state, resize, seen)
        return 0.0

    def _known(self, document: PoolDocument, resize: Resize, seen: _AtVersion) -> Knowledge:
        pool = document.pool
        lagging = (
            self._clients.laggards(pool, seen.version)
            if resize.state == "preparing"
            else Laggards()
        )
        strangers = seen.strangers
        if seen.looked_early and not lagging.live:
            strangers = None  # whoever has acknowledged since may have sent something before
        if resize.stays and strangers:
            acknowledged = self._clients.acknowledged(pool, seen.version)
            strangers = tuple(each for each in strangers if each not in acknowledged)
        return Knowledge(
            self._clock() - seen.since,
            lagging,
            cleared=seen.cleared,
            strangers=strangers,
            marked=seen.marked,
            unseen=seen.unseen,
            fence=seen.fence,
            all_moved=self._all_moved(document, resize, seen),
            jitter=seen.jitter,
            without_stale=seen.without_stale,
            restarted=seen.restarted,
            pool_paused=is_paused(document),
        )

    def _all_moved(self, document: PoolDocument, resize: Resize, seen: _AtVersion) -> bool:
        if resize.state == "moving" and seen.all_moved is None:
            seen.all_moved = not stage_sources(document, resize)  # which may try many keys
        return seen.all_moved is True

    def _clear(
        self, state: PoolState, resize: Resize, seen: _AtVersion, stop: threading.Event
    ) -> float:
        cancelled = self._cancelled(state, stop)
        failed = self._shards.clear(state, resize, cancelled)
        reason = "shard {} cannot be cleared of keys that are not its own: {}"
        if not failed and resize.strategy == "move":
            failed = self._shards.too_large(state, resize)
            reason = "keys cannot be moved from shard {}: {}"
        if not failed:
            seen.cleared = True
            return 0.0
        if not cancelled():
            self._wait_for(state, resize, reason.format(*next(iter(failed.items()))))
        return _RETRY

    def _remove_stale(
        self, state: PoolState, resize: Resize, seen: _AtVersion, stop: threading.Event
    ) -> float:
        cancelled = self._cancelled(state, stop)
        found = self._shards.remove_stale(state, resize, cancelled)
        if not found.failed:
            seen.without_stale, seen.masterships = True, found.given
            return 0.0
        if not cancelled():
            reason = "shard {} may have older copies of keys that move back: {}"
            self._wait_for(state, resize, reason.format(*next(iter(found.failed.items()))))
        return _RETRY

    def _cancelled(self, state: PoolState, stop: threading.Event) -> Callable[[], bool]:
        """Return what tells whether the document is another by now, or another process leads."""
        pool, version = state.document.pool, state.document.version
        return lambda: stop.is_set() or self._store.versions().get(pool) != version

    def _look(self, state: PoolState, resize: Resize, seen: _AtVersion) -> None:
        pool, version = state.document.pool, seen.version
        seen.looked_early = bool(self._clients.laggards(pool, version).live)
        acknowledged = self._clients.acknowledged(pool, version)
        looked = self._shards.look(state, resize)
        found = looked.given.values()
        clients = {client for each in found for client in each.clients}
        seen.strangers = tuple(sorted(each for each in clients if each not in acknowledged))
        seen.marked = any(each.marker is not None for each in found)
        seen.replicas = {shard: min(1, each.replicas) for shard, each in looked.given.items()}
        seen.masterships = {shard: each.mastership for shard, each in looked.given.items()}
        regain = regaining(state.document, resize) if resize.back else ()
        known, now = resize.masterships, seen.masterships
        seen.restarted = tuple(
            each for each in regain if each in now and now[each] != known.get(each)
        )
        if resize.strategy == "move":
            seen.unseen = tuple(looked.failed.items())
        failed = {s: at for s, at in looked.masters.items() if s in looked.failed}
        missed = {**lost_masters(state, resize), **failed}
        if missed:  # who is connected there is seen once it answers
            seen.fenced = FenceRecord(seen.version, (), missed).merged(seen.fenced)

    def _fence(
        self, state: PoolState, resize: Resize, seen: _AtVersion, clients: tuple[str, ...]
    ) -> None:
        acknowledged = self._clients.acknowledged(state.document.pool, seen.version)
        outcome = self._shards.fence(state, resize, seen.version, acknowledged)
        masters = {**lost_masters(state, resize), **outcome.masters}
        seen.fenced = FenceRecord(seen.version, clients, masters)
        seen.fence = FenceOutcome(tuple(outcome.failed.items()))
        if clients:
            detail = f"{named(clients)} fenced off {', '.join(sorted(outcome.given)) or 'nothing'}"
            detail += "".join(f"; not off {shard}: {why}" for shard, why in outcome.failed.items())
            log.warning("resize of pool %s: %s", state.document.pool, detail)
            self._store.record_event(
                NewEvent("resize.fenced", pool=state.document.pool, detail=detail)
            )

    def _prepare(self, state: PoolState, resize: Resize, seen: _AtVersion) -> None:
        self._shards.ask_sentinels(state)
        known = replace(resize, masterships={**resize.masterships, **seen.masterships})
        document = prepared(state.document, known)
        detail = f"{resize.summary}: attempt {resize.attempt + 1}"
        self._store_phase(state, document, "resize.prepare", detail)

    def _begin_moving(self, state: PoolState, resize: Resize, seen: _AtVersion) -> None:
        seconds = self._clock() - seen.since
        after = held(resize, seconds)
        document = moving(state.document, after, seen.replicas, seen.fenced, seen.masterships)
        detail = f"{resize.summary}: keys move{of_stage(resize)}, after a hold of "
        detail += f"{1000 * seconds:.0f} ms"
        self._store_phase(state, document, "resize.move", detail)

    def _move_keys(self, state: PoolState, resize: Resize, stop: threading.Event) -> float:
        """Move keys until no shard has any left, or the document is another."""
        stage = StageMove(self._store, state, stop, self._store_phase)
        self._moves.run(state, resize, stage)
        return _MOVES_AGAIN

    def _prepare_next(self, state: PoolState, resize: Resize, _: _AtVersion) -> None:
        self._shards.ask_sentinels(state)
        document = following(state.document, resize)
        detail = f"{resize.summary}: the next stage"
        self._store_phase(state, document, "resize.prepare", detail)

    def _step_back(self, state: PoolState, resize: Resize, reason: str) -> None:
        log.info("resize of pool %s: stepped back: %s", state.document.pool, reason)
        detail = f"{resize.summary}: attempt {resize.attempt}: {reason}"
        document = stepped_back(state.document, resize, reason)
        self._store_phase(state, document, "resize.step-back", detail)

    def _store_phase(
        self, state: PoolState, document: PoolDocument, action: str, detail: str
    ) -> bool:
        """Store the next document, and return whether nobody else has changed it meanwhile."""
        event = NewEvent(action, pool=document.pool, detail=detail)
        if self._store.put_document(document, state.document.version, event) is None:
            return False
        self._changed()
        return True

    def _finish(self, state: PoolState, resize: Resize, seen: _AtVersion) -> float:
        """Store Q, with a sweep for each shard that loses keys."""
        before, kept = state.document, ends_in(state.document, resize).names
        done = f"{resize.summary}: {how_done(resize)}"
        stored = self._store.put_document(
            finished(before, resize, seen.fenced),
            before.version,
            NewEvent(
                "resize.done",
                pool=before.pool,
                target=resize.target,
                detail=done,
                after=outcome(resize, before.version + 1),
            ),
            sweeps=sweeps_after(state, resize),
            masters={each: at for each, at in masters_of(state, resize).items() if each in kept},
            intents=self._intents_of(resize),
        )
        if stored is not None:
            log.info("resize of pool %s: %s", before.pool, done)
            self._forget_lost(before, resize)
            self._changed()
        elif self._store.versions().get(before.pool) == before.version:
            reason = why_refused(state, resize)
            if resize.strategy == "move":  # the keys have moved
                self._wait_for(state, resize, reason)
                return _RETRY
            self._step_back(state, resize, reason)
        return 0.0

    def _intents_of(self, resize: Resize) -> Sequence[int]:
        """Return the intents that end with the resize; given up, it ends without those too."""
        if not resize.back:
            return resize.intents
        left = {intent.id for intent in self._store.intents() if not intent.undoing}
        return [each for each in resize.intents if each in left]

    def _forget_lost(self, before: PoolDocument, resize: Resize) -> None:
        """Wait no more for shards that have left the pool, and whose data is lost.

        What fails here is tried again with the sweep, which is then left.
        """
        for sweep in self._store.sweeps(before.pool) if resize.lost else ():
            if sweep.drained and sweep.shard in resize.lost:
                try:
                    self._shards.forget(self._store, sweep, before.sentinels)
                except (redis.RedisError, CacheMeshError) as error:
                    log.warning("resize of pool %s: shard %s: %s", before.pool, sweep.shard, error)

    def _wait_for(self, state: PoolState, resize: Resize, reason: str) -> None:
        """Store what the resize waits for, unless that is known."""
        if resize.reason != reason:
            document = waiting(state.document, resize, reason)
            self._store_phase(state, document, "resize.waits", reason)


def _is_resized(document: PoolDocument) -> bool:
    try:
        return resize_of(document) is not None
    except CacheMeshError as error:
        log.error("resize of pool %s: %s", document.pool, error)
        return False
