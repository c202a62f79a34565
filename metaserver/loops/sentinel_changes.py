"""What is left to be told after a change of a pool's Sentinels, until all have taken it.

twice a second, for each pool whose document has such a change:
    former Sentinels      SENTINEL REMOVE of each shard, so that they neither vote nor fail over
    present ones          SENTINEL SET quorum, where a shard has another one
    one present one       SENTINEL RESET of each shard, so that it forgets the former ones; the next
                          one only once this one knows the other Sentinels and the replicas again
    all is done           the change leaves the document

A Sentinel that is reset knows of replicas only what the master tells. So none is while a master
does not serve, or a shard fails over; nor while the pool is paused.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import redis

from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.planning import quorum_of
from metaserver.domain.pool_pause import is_paused
from metaserver.domain.pool_state import PoolState
from metaserver.domain.sentinel_change import SentinelChange, change_of, trouble_of, with_change
from metaserver.domain.sentinel_view import SentinelView
from metaserver.loops.keyed_workers import KeyedWorkers
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import BoundedConnection, ask_all
from metaserver.redis_io.reply_parsers import parse_role
from metaserver.redis_io.sentinel_group import SentinelGroup
from metaserver.store import StorageError, Store

log = logging.getLogger("metaserver")

EVERY = 0.5  # seconds between two rounds
KEPT = 24 * 3600.0  # seconds after which Sentinels that do not answer are given up
_FINDS_WITHIN = 30.0  # seconds after which one that was reset is not waited for any more
_AT_ONCE = 8  # pools


@dataclass
class _Progress:
    """How far this process is with the change of a pool.

    Attributes:
        of: the Sentinels of the pool, and the change.
        began: in monotonic seconds.
        told: former Sentinels that have forgotten every shard.
        reset: present ones that have been reset, and know the others again.
        waits_for: the one that was reset last, since `since`.
        replicas: shard -> how many its master had then.
    """

    of: tuple[tuple[str, ...], SentinelChange]
    began: float
    told: set[str] = field(default_factory=set)
    reset: set[str] = field(default_factory=set)
    waits_for: str | None = None
    since: float = 0.0
    replicas: Mapping[str, int] = field(default_factory=dict)


class SentinelChanges:
    """Ends the changes of the Sentinels of every pool.

    Args:
        changed: called after each change of a document; must not raise.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        config: Config,
        *,
        networks: AllowedNetworks,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._config = config
        self._networks = networks
        self._changed = changed
        self._clock = clock
        self._progress: dict[str, _Progress] = {}  # by pool

    def run(self, stop: threading.Event) -> None:
        """End changes until `stop` is set."""
        with KeyedWorkers("change of Sentinels", _AT_ONCE) as workers:
            while not stop.is_set():
                pools = self._changing()
                workers.begin({f"pool {each}": partial(self._go_on, each) for each in pools})
                stop.wait(EVERY)

    def _changing(self) -> list[str]:
        try:
            documents = self._store.documents()
        except StorageError as error:
            log.error("changes of Sentinels: %s", error)
            return []
        pools = [each.pool for each in documents if change_of(each) is not None]
        for pool in [pool for pool in list(self._progress) if pool not in pools]:
            del self._progress[pool]
        return pools

    def _go_on(self, pool: str) -> None:
        """Tell what can be told now, and end the change if that was all."""
        state = self._store.state(pool)
        change = None if state is None else change_of(state.document)
        if state is None or change is None:
            return
        if any(failover.pool == pool for failover in self._store.failovers()):
            return
        document = state.document
        progress = self._progress_of(document, change)
        self._tell_former(state, change, progress)
        with self._group(document.sentinels) as sentinels:
            views = sentinels.views(document.placement.names)
            agree = _set_quorum(document, views, sentinels)
            if change.reset and not is_paused(document):
                self._reset_next(document, views, sentinels, progress)
        silent = [at for at, view in views.items() if view.error is not None]
        late = [at for at in change.tell if at not in progress.told]
        unreset = set(document.sentinels) - progress.reset if change.reset else set()
        too_long = self._clock() - progress.began > KEPT
        if too_long or (agree and not (silent or late or unreset)):
            self._end(document, [*late, *silent])

    def _progress_of(self, document: PoolDocument, change: SentinelChange) -> _Progress:
        of = (document.sentinels, change)
        progress = self._progress.get(document.pool)
        if progress is None or progress.of != of:
            progress = self._progress[document.pool] = _Progress(of, self._clock())
        return progress

    def _tell_former(self, state: PoolState, change: SentinelChange, progress: _Progress) -> None:
        late = [at for at in change.tell if at not in progress.told]
        if not late:
            return
        names = [*state.document.placement.names, *(s.shard for s in state.sweeps if s.drained)]
        failed: set[str] = set()
        with self._group(late) as former:
            for name in names:
                for at, reason in former.unregister(name).failed.items():
                    log.debug("SENTINEL REMOVE %s on the former %s: %s", name, at, reason)
                    failed.add(at)
        progress.told.update(at for at in late if at not in failed)

    def _reset_next(
        self,
        document: PoolDocument,
        views: Mapping[str, SentinelView],
        sentinels: SentinelGroup,
        progress: _Progress,
    ) -> None:
        """Reset one Sentinel more, if the one before knows the others again."""
        answering = [view for view in views.values() if view.error is None]
        if progress.waits_for is not None:
            late = self._clock() - progress.since > _FINDS_WITHIN
            view = views[progress.waits_for]
            if not late and not _knows_all(view, len(answering), progress.replicas):
                return
            if late:
                log.warning("Sentinel %s was reset, and does not know all others", view.address)
            progress.reset.add(progress.waits_for)
            progress.waits_for = None
        due = [view.address for view in answering if view.address not in progress.reset]
        names = document.placement.names
        if not due or trouble_of(names, answering) is not None:
            return
        replicas = self._replicas(names, answering)
        if replicas is None:
            return
        failed = sentinels.reset(names, only=due[:1]).failed
        if failed:
            log.warning("SENTINEL RESET on %s: %s", due[0], failed[due[0]])
            return
        progress.waits_for, progress.since, progress.replicas = due[0], self._clock(), replicas

    def _replicas(
        self, shards: Collection[str], views: Sequence[SentinelView]
    ) -> dict[str, int] | None:
        """Return how many replicas each master has; None if one does not answer, or is none."""
        masters = {
            shard: view.shards[shard].master
            for view in views
            for shard in shards
            if shard in view.shards
        }
        config = self._config
        connections = {
            shard: BoundedConnection(
                address, self._networks, config.redis_auth, config.instance_timeout
            )
            for shard, address in masters.items()
        }
        try:
            answers = ask_all(
                connections,
                lambda connection: parse_role(connection.call("ROLE")),
                within=config.instance_timeout,
            )
        finally:
            for connection in connections.values():
                connection.close()
        found: dict[str, int] = {}
        for shard, answer in answers.items():
            if isinstance(answer, redis.RedisError) or answer.role != "master":
                log.info("no Sentinel is reset yet: the master of %s does not serve", shard)
                return None
            found[shard] = sum(at.port != 0 for at, _ in answer.replicas)
        return found

    def _end(self, document: PoolDocument, untold: Sequence[str]) -> None:
        """Take the change out of the document; if another change was faster, the next round does.

        Args:
            untold: Sentinels that did not answer for a day.
        """
        count = len(document.sentinels)
        detail = f"quorum {quorum_of(document)} of {count}"
        if untold:
            detail += f"; {', '.join(untold)} did not answer for a day, and was not told"
        event = NewEvent("sentinel.settled", pool=document.pool, detail=detail)
        after = with_change(document, None)
        if self._store.put_document(after, document.version, event) is not None:
            self._changed()

    def _group(self, addresses: Sequence[str]) -> SentinelGroup:
        return SentinelGroup.from_config(self._config, self._networks, addresses)


def _set_quorum(
    document: PoolDocument, views: Mapping[str, SentinelView], sentinels: SentinelGroup
) -> bool:
    """Have every Sentinel take the pool's quorum; return whether all that answer have it."""
    quorum = quorum_of(document)
    agree = True
    for shard in document.placement.names:
        known = {at: view.shards[shard] for at, view in views.items() if shard in view.shards}
        others = [at for at, said in known.items() if said.quorum != quorum]
        if others and sentinels.set_quorum(shard, quorum, only=others).failed:
            agree = False
    return agree


def _knows_all(view: SentinelView, sentinels: int, replicas: Mapping[str, int]) -> bool:
    """Return whether a Sentinel knows so many Sentinels, itself included, and the replicas."""
    return view.error is None and all(
        said.sentinels >= sentinels and len(said.replicas) >= replicas.get(shard, 0)
        for shard, said in view.shards.items()
    )
