"""Repair: what Sentinels should monitor and what they do monitor, brought together again.

* An intent that nobody carries on is undone: the Sentinels forget its shard.
* A failover that nobody carries on is finished or taken back.
* A Sentinel that forgot a shard, or watches it at an address that is not its master any more, is
  told again. The address is what most of the Sentinels say, or the last known one if all forgot,
  and only if the instance there says itself that it is a master.

Names that no pool and no intent knows are never touched.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import redis

from cachemesh.core.errors import CacheMeshError
from metaserver.domain.errors import Problem
from metaserver.failover.recovery import Recovery
from metaserver.loops.leader_election import process_identity, process_is_alive
from metaserver.process.clock import Ages
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.connection import Link
from metaserver.redis_io.reply_parsers import RoleReply, parse_role
from metaserver.redis_io.sentinels import (
    DEFAULT_OPTIONS,
    Sentinels,
    SentinelView,
    ShardView,
    majority,
)
from metaserver.store import Intent, NewEvent, NewIntent, PoolState, StorageError, Store, Sweep

log = logging.getLogger("metaserver")

_FAILOVERS_EVERY = 0.5  # seconds
_STRAY_FOR = 2  # rounds that a Sentinel must differ from the others before it is told


class Repair:
    """Repairs every pool; `networks` are those in which instances may be asked for their role.

    `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        config: Config,
        *,
        networks: AllowedNetworks,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open = Ages(clock)  # intents, by id
        self._store = store
        self._config = config
        self._networks = networks
        self._recovery = Recovery(store, config, networks)
        self._strays: dict[tuple[str, str, str], int] = {}  # pool, shard, Sentinel -> rounds

    def run(self, stop: threading.Event) -> None:
        """Repair each `config.repair_interval` seconds until `stop` is set.

        Failovers that nobody carries on are looked for more often: somebody's writes may wait.
        """
        again = 0.0
        while not stop.is_set():
            try:
                self._recovery.run()
                if time.monotonic() >= again:
                    self._repair_all(stop)
                    again = time.monotonic() + self._config.repair_interval
            except StorageError as error:
                log.error("repair: %s", error)
            stop.wait(min(_FAILOVERS_EVERY, self._config.repair_interval))

    def _repair_all(self, stop: threading.Event) -> None:
        intents = self._store.intents()
        self._open.keep({intent.id for intent in intents})
        for intent in intents:
            if stop.is_set():
                return
            if self._is_orphan(intent):
                self._undo(intent)
        for pool in self._store.versions():
            state = self._store.state(pool)
            if stop.is_set():
                return
            if state is not None:
                self._repair_pool(state)

    def _is_orphan(self, intent: Intent) -> bool:
        """Whether nobody carries the intent on."""
        old = self._open.of(intent.id) > self._config.intent_age
        settled = intent.undoing or intent.action == "delete"
        return settled or old or not process_is_alive(intent.owner)

    def _undo(self, intent: Intent) -> None:
        try:
            if self._store.claim_intent(intent.id):
                with self._sentinels(intent.sentinels) as sentinels:
                    forget(self._store, sentinels, intent)
        except StorageError as error:
            log.error("repair: shard %s: %s", intent.shard, error)

    def _repair_pool(self, state: PoolState) -> None:
        busy = {failover.shard for failover in self._store.failovers()}
        names = [name for name in state.document.placement.names if name not in busy]
        with self._sentinels(state.document.sentinels) as sentinels:
            views = sentinels.views(names)
            if all(view.error is not None for view in views.values()):
                log.warning("repair: pool %s: no Sentinel answers", state.document.pool)
                return
            for name in names:
                try:
                    self._repair_shard(name, state, sentinels, views)
                except (redis.RedisError, CacheMeshError) as error:
                    log.warning("repair: shard %s of pool %s: %s", name, state.document.pool, error)

    def _repair_shard(
        self,
        name: str,
        state: PoolState,
        sentinels: Sentinels,
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
        if strays:
            sentinels.unregister(name, only=strays)
        told = _Wanted(name, master, *_how(known, views, sentinels))
        outcome = sentinels.register(
            name,
            master,
            told.quorum,
            self._config.redis_auth,
            told.options,
            only=[*forgot, *strays],
        )
        if not self._still_wanted(pool, name):
            sentinels.unregister(name, only=outcome.done)
            return
        for at in strays:
            self._strays.pop((pool, name, at), None)
        self._report(pool, told, outcome.done, outcome.failed)

    def _strays_of(
        self, pool: str, name: str, known: Mapping[str, ShardView], master: str | None
    ) -> list[str]:
        """The Sentinels that for some rounds have named another master than most of them."""
        for at, view in known.items():
            key = (pool, name, at)
            if master is None or view.master == master:
                self._strays.pop(key, None)
            else:
                self._strays[key] = self._strays.get(key, 0) + 1
        return [at for at in known if self._strays.get((pool, name, at), 0) > _STRAY_FOR]

    def _verified(self, master: str, *, follow: bool) -> str:
        """The address if the instance there says it is a master.

        With `follow`, a replica's own word on who its master is, if that one agrees.

        Raises:
            redis.RedisError: it cannot be asked, or it is no master.
        """
        role = self._role_of(master)
        if role.role == "replica" and role.master is not None and follow:
            master = role.master
            role = self._role_of(master)
        if role.role != "master":
            raise redis.ReadOnlyError(f"{master} is a {role.role}, so no Sentinel is pointed at it")
        return master

    def _role_of(self, address: str) -> RoleReply:
        config = self._config
        link = Link(address, self._networks, config.redis_auth, config.instance_timeout)
        try:
            return parse_role(link.call("ROLE"))
        finally:
            link.close()

    def _still_wanted(self, pool: str, shard: str) -> bool:
        """False if the shard left while the Sentinels were told; what is drained still counts."""
        state = self._store.state(pool)
        return state is not None and (
            shard in state.document.placement.names
            or any(sweep.drained and sweep.shard == shard for sweep in state.sweeps)
        )

    def _report(
        self, pool: str, told: _Wanted, done: Sequence[str], failed: Mapping[str, str]
    ) -> None:
        for at, reason in failed.items():
            log.warning("repair: shard %s: Sentinel %s: %s", told.shard, at, reason)
        if done:
            self._store.record_event(
                NewEvent(
                    "sentinel.repaired",
                    pool=pool,
                    target=told.shard,
                    detail=f"{', '.join(done)} monitors {told.shard} at {told.master} again",
                )
            )

    def _sentinels(self, addresses: Sequence[str]) -> Sentinels:
        return Sentinels.of(self._config, self._networks, addresses)


@dataclass(frozen=True)
class _Wanted:
    """What a Sentinel is told about a shard."""

    shard: str
    master: str
    quorum: int
    options: Mapping[str, str]


def forget(store: Store, sentinels: Sentinels, intent: Intent) -> bool:
    """Have the Sentinels forget an intent's shard; True once all did and the intent is gone.

    Raises:
        StorageError: the intent is kept, and this is to be repeated.
    """
    delete = intent.action == "delete"
    outcome = sentinels.unregister(intent.shard, master=None if delete else intent.master)
    if outcome.failed:
        for at, reason in outcome.failed.items():
            log.warning("SENTINEL REMOVE %s on %s: %s", intent.shard, at, reason)
        return False
    event = NewEvent(
        "shard.undone",
        pool=intent.pool,
        target=intent.shard,
        detail=f"the half-done {intent.action} of {intent.shard} ({intent.master}) was undone",
    )
    return store.finish_intent(intent.id, None if delete else event)


def end_drained(
    store: Store, sweep: Sweep, master: str, sentinels: tuple[str, ...], event: NewEvent
) -> Intent | None:
    """Take the sweep of a drained shard out of the store; `forget` is what is left to do.

    The intent is written first, so that also after kill -9 repair has the Sentinels forget the
    shard. None: the sweep is gone already, and nothing was changed.

    Raises:
        Problem: resize-in-progress.
        StorageError: the sweep is still there.
    """
    intent = store.add_intent(
        NewIntent(sweep.pool, sweep.shard, master, "delete", sentinels, process_identity())
    )
    if intent is None:
        raise Problem(
            "resize-in-progress",
            f"Something else is just being done to shard {sweep.shard!r}",
            "wait a few seconds and try again",
        )
    if store.finish_sweep(sweep.id, event):
        return intent
    store.finish_intent(intent.id)
    return None


def _agreed_master(known: Mapping[str, ShardView], last: str | None) -> str | None:
    """What most of the Sentinels say; the last known one if all forgot or none has a majority."""
    said = [view.master for view in known.values()]
    return majority(said) or (last if last in said or not said else None)


def _how(
    known: Mapping[str, ShardView],
    views: Mapping[str, SentinelView],
    sentinels: Sentinels,
) -> tuple[int, Mapping[str, str]]:
    """Quorum and options as other Sentinels have them for this shard, else for another one."""
    others = [view for sentinel in views.values() for view in sentinel.shards.values()]
    like = next(iter(known.values()), None) or next(iter(others), None)
    if like is None:
        return sentinels.default_quorum, DEFAULT_OPTIONS
    return like.quorum, like.options
