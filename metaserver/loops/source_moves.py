"""The moves of all sources in one stage, at once, each tried again by itself when it fails.

a worker for each source:  SourceMove --> done | why it waits --> again
meanwhile:                 what all of them have counted is published
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from cachemesh.core.migration.routing import leaving, targets_now
from metaserver.domain.move_pace import KeysPerSecond, Rests
from metaserver.domain.move_progress import MoveProgress, Rate, SourceCount
from metaserver.domain.pool_state import PoolState
from metaserver.domain.resize import Resize, concerned
from metaserver.domain.resize_move import stage_sources
from metaserver.domain.resize_status import progress_of
from metaserver.loops.agreed_masters import AgreedMasters, agreed_masters
from metaserver.loops.key_mover import COPIED_WITHIN, SourceMove
from metaserver.loops.keyed_workers import KeyedWorkers
from metaserver.loops.latency_probe import probing
from metaserver.loops.move_targets import Targets, TargetTurns, UnreplicatedError
from metaserver.loops.stage_move import StageMove
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.client_list import LISTED
from metaserver.redis_io.key_scan import LISTED_OR_SCANNED
from metaserver.redis_io.replica_wait import needed_by
from metaserver.redis_io.resp import Limits
from metaserver.redis_io.shard_masters import NotShardMasterError, ShardMasters
from metaserver.redis_io.term_fence import TermFence

_AT_ONCE = 16  # sources
_MOVED_WITHIN = 24 * 3600.0  # seconds; each call to an instance has its own, short bound
_RETRY = 1.0  # seconds after a failure
_UNREPLICATED = 3.0  # seconds without an acknowledgement, after which replicas are counted again
_COUNTED_EVERY = 5.0  # seconds between two looks at shards that had no replica
_TOLD_EVERY = 1.0  # seconds between two messages of how far it is


@dataclass
class _Source:
    """A source, and when it is to be tried again, in monotonic seconds."""

    count: SourceCount
    rests: Rests
    due: float = 0.0
    lacks: str | None = None  # the shard whose replicas did not acknowledge, in the last attempt
    lacks_since: float = 0.0
    late: bool = False  # an attempt was broken off, perhaps with a copy under way


class SourceMoves:
    """Moves the keys of a stage from all its sources.

    Args:
        term: as of `ResizeShards`.
    """

    def __init__(self, config: Config, networks: AllowedNetworks, term: TermFence) -> None:
        self._config, self._networks, self._term = config, networks, term

    def run(self, state: PoolState, resize: Resize, stage: StageMove) -> None:
        """Move keys until no shard has any left, or the stage is cancelled.

        A shard that fails is tried again each second, and what it waits for is stored.
        """
        work = _Work(self._config, self._networks, self._term, state, resize, stage)
        with KeyedWorkers("move", _AT_ONCE) as workers:
            work.go(workers)
        work.tell()


class _Work:
    """One run of `SourceMoves`."""

    def __init__(
        self,
        config: Config,
        networks: AllowedNetworks,
        term: TermFence,
        state: PoolState,
        resize: Resize,
        stage: StageMove,
    ) -> None:
        self._config, self._networks, self._term = config, networks, term
        self._state, self._resize, self._stage = state, resize, stage
        self._turns, self._pace = TargetTurns(), KeysPerSecond(resize.keys_per_second)
        most = resize.max_latency / 1000
        published = progress_of(state.progress, resize)  # before a pause, or by another leader
        before = () if published is None else published.sources
        self._done_before = [
            replace(each, state="done", left=0, detail="") if each.shard in resize.lost else each
            for each in before
            if each.shard in resize.done
        ]
        moved = {each.shard: each.moved for each in before}
        self._sources = [
            _Source(
                SourceCount(shard, moved=moved.get(shard, 0)),
                Rests(most),
                late=published is not None,
            )
            for shard in stage_sources(state.document, resize)
        ]
        self._concerned = concerned(state.document, resize)
        self._replicas = dict(resize.replicas)  # moves under way see what becomes of it
        self._counted_at = time.monotonic()
        self._rate = Rate()
        self._ended = threading.Event()  # an attempt has

    def go(self, workers: KeyedWorkers) -> None:
        """Have workers move keys until there is nothing left to do."""
        told = 0.0
        while not self._stage.cancelled() and (left := self._left()):
            self._ended.clear()
            now = time.monotonic()
            workers.begin(self._due(left, now))
            if now - told >= _TOLD_EVERY:
                told = now
                self.tell()
                self._count_replicas()
            self._ended.wait(_TOLD_EVERY / 5)

    def tell(self) -> None:
        """Publish how far the sources are."""
        self._stage.tell(self._progress(time.monotonic()))

    def _count_replicas(self) -> None:
        """Wait for no replicas where there are none any more, and for them where they are back.

        A shard whose replica was promoted has none, until its former master comes back.
        """
        moment, needed = time.monotonic(), self._replicas
        suspects = {
            each.lacks
            for each in self._sources
            if each.lacks is not None and moment - each.lacks_since >= _UNREPLICATED
        }
        if moment - self._counted_at >= _COUNTED_EVERY:
            self._counted_at = moment
            suspects |= {each for each in self._concerned if not needed.get(each, 0)}
        if not suspects:
            return
        now = self._agreed()
        asked = suspects - now.disputed.keys()
        found = self._masters(now, LISTED).ask(asked, _replicas, within=_TOLD_EVERY).given
        changed = {shard: count for shard, count in found.items() if count != needed.get(shard, 0)}
        if changed and self._stage.replicated(changed):
            needed.update(changed)

    def _left(self) -> list[_Source]:
        return [each for each in self._sources if each.count.state != "done"]

    def _due(self, left: list[_Source], now: float) -> Mapping[str, Callable[[], None]]:
        pool = self._state.document.pool
        return {
            f"keys from {each.count.shard} in pool {pool}": partial(self._attempt, each)
            for each in left
            if each.due <= now
        }

    def _attempt(self, source: _Source) -> None:
        """Move what is left at a source; note why it could not be moved, and try again later."""
        count = source.count
        try:
            failed = self._moved_from(source)
        finally:
            source.due = time.monotonic() + _RETRY
            self._ended.set()
        if failed is None:
            source.lacks = None
            count.state, count.detail = "done", ""
            self._stage.source_done(count.shard, count.moved)
            return
        source.late = True
        if not self._stage.cancelled():
            count.state, count.detail = "waits", failed
            self._stage.waits(count.shard, failed)

    def _moved_from(self, source: _Source) -> str | None:
        """Move what is left at a source; return why some of it could not be moved."""
        shard, now = source.count.shard, self._agreed()
        if shard in now.disputed:
            return now.disputed[shard]
        needed = self._replicas
        to = Targets(self._config, self._networks, self._term, now.known, needed, self._turns)
        migration, before = self._resize.migration("move"), self._state.document.placement

        def move(shard: str, connection: BoundedConnection) -> None:
            self._term.shut_out(connection)
            leave = leaving(before, migration, shard)
            late = targets_now(before, migration, shard) if source.late else ()
            source.count.state = "moving"
            with to.opened() as targets, probing(source.rests, to):
                self._run(
                    source,
                    SourceMove(
                        connection,
                        source.count,
                        leave,
                        targets,
                        self._stage.cancelled,
                        self._pace,
                        source.rests,
                        late=late,
                    ),
                )
            self._require_master_yet(shard, connection.address)

        masters = self._masters(now, LISTED_OR_SCANNED, COPIED_WITHIN + 1.0)
        return masters.ask([shard], move, within=_MOVED_WITHIN).failed.get(shard)

    def _require_master_yet(self, shard: str, address: str) -> None:
        """Raise unless the instance that has no key left is the shard's master."""
        now = self._agreed()
        if now.known.get(shard) != address:
            why = now.disputed.get(shard, f"{address} is not the master any more")
            raise NotShardMasterError(why)

    def _run(self, source: _Source, moves: SourceMove) -> None:
        """Move keys; remember whose replicas did not acknowledge, and since when."""
        try:
            moves.run()
        except UnreplicatedError as error:
            if source.lacks != error.shard:
                source.lacks, source.lacks_since = error.shard, time.monotonic()
            raise
        source.lacks = None

    def _masters(
        self, now: AgreedMasters, limits: Limits, timeout: float | None = None
    ) -> ShardMasters:
        return ShardMasters(
            self._config,
            self._networks,
            self._state.document.sentinels,
            now.known,
            opened=self._term.enter,
            limits=limits,
            timeout=timeout,
        )

    def _agreed(self) -> AgreedMasters:
        state, resize = self._state, self._resize
        return agreed_masters(self._config, self._networks, state, resize, self._concerned)

    def _progress(self, now: float) -> MoveProgress:
        told = [each.count.told() for each in self._sources]
        moved = sum(each.moved for each in told)
        return MoveProgress(
            self._resize.id,
            self._resize.stage,
            self._resize.back,
            [*self._done_before, *told],
            round(self._rate.at(now, moved), 1),
        )


def _replicas(_: str, connection: BoundedConnection) -> int:
    return needed_by(connection)
