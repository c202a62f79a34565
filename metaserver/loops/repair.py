"""Repair: making the Sentinels monitor what they should monitor.

* An intent whose process died or takes too long is undone: the Sentinels forget its shard.
* A failover whose process died is resolved.
* A Sentinel that forgot a shard, or monitors it at an address that is not its master any more, is
  told again. The address is the one that most Sentinels give, or the last known one if all
  forgot, and only if the instance there says that it is a master.

Shards that no pool and no intent names are never touched. Of a pool that is paused, only what is
half-done is finished or undone: its intents and failovers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import redis

from cachemesh.core.errors import CacheMeshError
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.reads.replication_status import RoleReply
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.planning import quorum_of
from metaserver.domain.pool_pause import is_paused
from metaserver.domain.pool_state import Intent, PoolState
from metaserver.domain.resize import intents_of
from metaserver.domain.sentinel_view import MonitoredShard, SentinelView, majority
from metaserver.failover.recovery import Recovery
from metaserver.process.clock import ElapsedTimes
from metaserver.process.config import Config
from metaserver.process.identity import process_is_alive
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.reply_parsers import parse_role
from metaserver.redis_io.sentinel_group import SentinelGroup
from metaserver.redis_io.sentinel_replies import DEFAULT_OPTIONS
from metaserver.service.forgetting import forget_shard
from metaserver.store import StorageError, Store

log = logging.getLogger("metaserver")

_FAILOVERS_EVERY = 0.5  # seconds
_STRAY_ROUNDS = 2  # for which a Sentinel must differ from the others before it is told


class Repair:
    """Repairs every pool.

    Args:
        networks: in which instances may be asked for their role.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        config: Config,
        *,
        networks: AllowedNetworks,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_intents = ElapsedTimes(clock)  # by id
        self._store = store
        self._config = config
        self._networks = networks
        self._recovery = Recovery(store, config, networks)
        self._strays: dict[tuple[str, str, str], int] = {}  # pool, shard, Sentinel -> rounds

    def run(self, stop: threading.Event) -> None:
        """Repair each `config.repair_interval` seconds until `stop` is set.

        Unattended failovers are looked for more often, as writes of clients may be waiting.
        """
        again = 0.0
        while not stop.is_set():
            try:
                self._recovery.run(stop)
                if time.monotonic() >= again:
                    self._repair_all(stop)
                    again = time.monotonic() + self._config.repair_interval
            except StorageError as error:
                log.error("repair: %s", error)
            stop.wait(min(_FAILOVERS_EVERY, self._config.repair_interval))

    def _repair_all(self, stop: threading.Event) -> None:
        intents = self._store.intents()
        live = {each.owner for each in self._store.metaservers()}
        self._open_intents.keep({intent.id for intent in intents})
        # Read after the intents: one whose resize has ended since is done, and gone.
        resized = {each for document in self._store.documents() for each in intents_of(document)}
        damaged = self._store.damaged_pools()
        for intent in intents:
            if intent.id in resized and not intent.undoing:
                continue  # it is completed, or given up, together with the resize
            if intent.pool in damaged:
                continue  # whether a resize carries it out can be read again once that is mended
            if stop.is_set():
                return
            if self._is_orphan(intent, live):
                self._undo(intent)
        for pool in self._store.versions():
            state = self._store.state(pool)
            if stop.is_set():
                return
            if state is not None:
                self._repair_pool(state, stop)

    def _is_orphan(self, intent: Intent, live: Collection[str]) -> bool:
        """Return whether no process carries the intent out; `live` as in `process_is_alive`."""
        old = self._open_intents.since_first(intent.id) > self._config.intent_age
        undo = intent.undoing or intent.action == "delete"
        return undo or old or not process_is_alive(intent.owner, live)

    def _undo(self, intent: Intent) -> None:
        try:
            if self._store.claim_intent(intent.id):
                with self._sentinels(intent.sentinels) as sentinels:
                    forget_shard(self._store, sentinels, intent)
        except StorageError as error:
            log.error("repair: shard %s: %s", intent.shard, error)

    def _repair_pool(self, state: PoolState, stop: threading.Event) -> None:
        if is_paused(state.document):
            pool = state.document.pool
            self._strays = {key: count for key, count in self._strays.items() if key[0] != pool}
            return
        busy = {failover.shard for failover in self._store.failovers()}
        names = [name for name in state.document.placement.names if name not in busy]
        with self._sentinels(state.document.sentinels) as sentinels:
            views = sentinels.views(names)
            if all(view.error is not None for view in views.values()):
                log.warning("repair: pool %s: no Sentinel answers", state.document.pool)
                return
            for name in names:
                if stop.is_set():
                    return
                try:
                    self._repair_shard(name, state, sentinels, views)
                except (redis.RedisError, CacheMeshError) as error:
                    log.warning("repair: shard %s of pool %s: %s", name, state.document.pool, error)

    def _repair_shard(
        self,
        name: str,
        state: PoolState,
        sentinels: SentinelGroup,
        views: Mapping[str, SentinelView],
    ) -> None:
        pool = state.document.pool
        known = {at: view.shards[name] for at, view in views.items() if name in view.shards}
        forgot = [at for at, view in views.items() if view.error is None and at not in known]
        master = _agreed_master(known, state.masters.get(name))
        strays = self._strays_of(pool, name, known, master)
        if not forgot and not strays:
            if master is not None and name not in state.masters:
                self._store.remember_master(pool, name, master)
            return
        if any("failover_in_progress" in view.flags for view in known.values()):
            return
        if master is None:
            log.warning("repair: pool %s: nothing tells who is master of %s", pool, name)
            return
        master = self._verified(master, follow=not known)
        if self._is_paused(pool):
            return
        if strays:
            sentinels.unregister(name, only=strays)
        wanted = _Registration(name, master, *_quorum_and_options(known, views, state.document))
        outcome = sentinels.register(
            name,
            master,
            wanted.quorum,
            self._config.redis_auth,
            wanted.options,
            only=[*forgot, *strays],
        )
        unwanted = self._unwanted(pool, name, outcome.done)
        if unwanted:
            sentinels.unregister(name, only=unwanted)
            return
        for at in strays:
            self._strays.pop((pool, name, at), None)
        self._report(pool, wanted, outcome.done, outcome.failed)

    def _strays_of(
        self, pool: str, name: str, known: Mapping[str, MonitoredShard], master: str | None
    ) -> list[str]:
        """Return the Sentinels that have named another master than most for some rounds."""
        for at, view in known.items():
            key = (pool, name, at)
            if master is None or view.master == master:
                self._strays.pop(key, None)
            else:
                self._strays[key] = self._strays.get(key, 0) + 1
        return [at for at in known if self._strays.get((pool, name, at), 0) > _STRAY_ROUNDS]

    def _verified(self, master: str, *, follow: bool) -> str:
        """Return the address if the instance there says that it is a master.

        Args:
            follow: if the instance is a replica, return its master instead, if that one says
                that it is a master.

        Raises:
            redis.RedisError: the instance does not answer, or is no master.
        """
        role = self._role_of(master)
        if role.role == "replica" and role.master is not None and follow:
            master = str(role.master)
            role = self._role_of(master)
        if role.role != "master":
            raise redis.ReadOnlyError(f"{master} is a {role.role}, so no Sentinel is pointed at it")
        return master

    def _role_of(self, address: str) -> RoleReply:
        config = self._config
        connection = BoundedConnection(
            address, self._networks, config.redis_auth, config.instance_timeout
        )
        try:
            return parse_role(connection.call("ROLE"))
        finally:
            connection.close()

    def _is_paused(self, pool: str) -> bool:
        document = self._store.document(pool)
        return document is not None and is_paused(document)

    def _unwanted(self, pool: str, shard: str, told: Sequence[str]) -> list[str]:
        """Return those of the Sentinels that need not monitor the shard any more.

        That is all of them, unless the shard is still in the pool or being drained.
        """
        state = self._store.state(pool)
        if state is None or not (
            shard in state.document.placement.names
            or any(sweep.drained and sweep.shard == shard for sweep in state.sweeps)
        ):
            return list(told)
        return [at for at in told if at not in state.document.sentinels]

    def _report(
        self, pool: str, wanted: _Registration, done: Sequence[str], failed: Mapping[str, str]
    ) -> None:
        for at, reason in failed.items():
            log.warning("repair: shard %s: Sentinel %s: %s", wanted.shard, at, reason)
        if done:
            self._store.record_event(
                NewEvent(
                    "sentinel.repaired",
                    pool=pool,
                    target=wanted.shard,
                    detail=f"{', '.join(done)} monitors {wanted.shard} at {wanted.master} again",
                )
            )

    def _sentinels(self, addresses: Sequence[str]) -> SentinelGroup:
        return SentinelGroup.from_config(self._config, self._networks, addresses)


@dataclass(frozen=True)
class _Registration:
    """What a Sentinel is told about a shard."""

    shard: str
    master: str
    quorum: int
    options: Mapping[str, str]


def _agreed_master(known: Mapping[str, MonitoredShard], last: str | None) -> str | None:
    """Return the master that most Sentinels name; the last known one if none has a majority."""
    named = [view.master for view in known.values()]
    return majority(named) or (last if last in named or not named else None)


def _quorum_and_options(
    known: Mapping[str, MonitoredShard],
    views: Mapping[str, SentinelView],
    document: PoolDocument,
) -> tuple[int, Mapping[str, str]]:
    """Return quorum and options as other Sentinels have them for this shard, else for any.

    If all Sentinels forgot every shard, these are the pool's quorum and the default options.
    """
    others = [view for sentinel in views.values() for view in sentinel.shards.values()]
    like = next(iter(known.values()), None) or next(iter(others), None)
    if like is None:
        return quorum_of(document), DEFAULT_OPTIONS
    return like.quorum, like.options
