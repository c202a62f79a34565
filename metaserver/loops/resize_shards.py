"""What a resize does at shards: clear those that gain keys, look at and fence those that lose some.

All shards are asked at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Container, Mapping
from dataclasses import replace
from typing import TypeVar

import redis

from cachemesh.core.migration.phase import Migration
from cachemesh.core.migration.routing import leaving
from cachemesh.core.placement import Placement
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.fence_record import FenceRecord
from metaserver.domain.large_keys import SUSPECT, too_large
from metaserver.domain.pool_state import PoolState, Sweep
from metaserver.domain.resize import (
    Resize,
    concerned,
    masters_of,
    plan_of,
    to_clear,
)
from metaserver.domain.resize_move import moved_forward, regaining
from metaserver.loops.agreed_masters import agreed_masters
from metaserver.loops.instance_sweep import InstanceSweep
from metaserver.loops.move_targets import Targets, TargetTurns
from metaserver.loops.stale_copies import StaleCopies
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.fence import Seen, fence, lift, look
from metaserver.redis_io.key_sampler import Sampling, memory_of, sample_of
from metaserver.redis_io.key_scan import LISTED_OR_SCANNED, replication_id_of
from metaserver.redis_io.replica_wait import acknowledging, needed_by, wait_ms
from metaserver.redis_io.sentinel_group import SentinelGroup
from metaserver.redis_io.shard_masters import AskMaster, MasterAnswers, ShardMasters
from metaserver.redis_io.term_fence import TermFence
from metaserver.service.forgetting import end_drained, forget_shard
from metaserver.store import Store

T = TypeVar("T")

_CLEARED_WITHIN = 24 * 3600.0  # seconds; each call to an instance has its own, short bound
_ALL_LARGE = Sampling(keys=0, big_key=SUSPECT, within=math.inf)
_HELD = 0.7  # seconds for a shard to answer while clients hold commands
_KEPT = 2.0  # seconds for the masters of a pool to answer when a fence is kept up


class ClearingCancelled(redis.RedisError):
    """The resize is over, or another process leads."""


class ResizeShards:
    """The shards of pools during a resize.

    Args:
        term: shuts out what an earlier leader, paused meanwhile, may be about to send.
    """

    def __init__(self, config: Config, networks: AllowedNetworks, term: TermFence) -> None:
        self._config = config
        self._networks = networks
        self._term = term
        self._silent: dict[str, frozenset[str]] = {}  # by pool: Sentinels

    def clear(
        self, state: PoolState, resize: Resize, cancelled: Callable[[], bool]
    ) -> Mapping[str, str]:
        """Remove the keys that the shards which gain some do not own by now.

        Returns:
            Shard -> why it could not be cleared. Empty: no such key is left.
        """
        placement = state.document.placement

        def current() -> Placement:
            if cancelled():
                raise ClearingCancelled("the resize is over")
            return placement

        def sweep(shard: str, connection: BoundedConnection) -> None:
            self._term.shut_out(connection)
            InstanceSweep(connection, shard, current, lambda _: None).run()
            self._require_replicated(connection)

        shards = to_clear(plan_of(state.document, resize))
        swept = self._ask(state, resize, shards, sweep, _CLEARED_WITHIN)
        now = agreed_masters(self._config, self._networks, state, resize, shards)
        changed = {
            shard: now.disputed.get(shard, f"{swept.masters[shard]} is not the master any more")
            for shard in swept.given
            if now.known.get(shard) != swept.masters[shard]
        }
        return {**swept.failed, **changed}

    def _require_replicated(self, connection: BoundedConnection) -> None:
        """Raise unless a replica, if there is one, has lost the keys that the master has lost.

        What a replica still had would come back with it, and win over what is moved there.
        """
        needed = needed_by(connection)
        if needed and not acknowledging(connection, needed, wait_ms(self._config)):
            raise redis.ResponseError("no replica has acknowledged in time that keys are removed")

    def remove_stale(
        self, state: PoolState, resize: Resize, cancelled: Callable[[], bool]
    ) -> MasterAnswers[str]:
        """Remove older copies of keys from the shards that they are about to move back to.

        A master that has been one ever since keys began to move has none.

        Returns:
            The replication ids of the masters that have none.
        """
        forward, everybody = (
            moved_forward(state.document, resize),
            concerned(state.document, resize),
        )
        masters = agreed_masters(self._config, self._networks, state, resize, everybody).known

        def remove(shard: str, connection: BoundedConnection) -> str:
            self._term.shut_out(connection)
            mastership = replication_id_of(connection)
            if mastership and mastership == resize.masterships.get(shard):
                return mastership
            config, networks = self._config, self._networks
            to = Targets(config, networks, self._term, masters, {}, TargetTurns())
            leave, gone = leaving(state.document.placement, forward, shard), shard in forward.done
            with to.opened() as own:
                copies = StaleCopies.at(
                    connection, shard, leave, own, cancelled, all_moved=gone, lost=resize.lost
                )
                return copies.run()

        shards = regaining(state.document, resize)
        return self._ask(state, resize, shards, remove, _CLEARED_WITHIN)

    def too_large(self, state: PoolState, resize: Resize) -> Mapping[str, str]:
        """Look for keys that are too large to be moved.

        Returns:
            Shard -> why its keys cannot be moved. Empty: they can.
        """
        placement, migration = state.document.placement, Migration("move", resize.placement)

        def look(shard: str, connection: BoundedConnection) -> str | None:
            used = memory_of(connection).used
            if used < SUSPECT:
                return None
            leaves = leaving(placement, migration, shard)
            try:
                return too_large(sample_of(connection, shard, leaves, _ALL_LARGE, used).big)
            except redis.exceptions.NoPermissionError:
                return None  # the right to ask for sizes is not needed

        shards = plan_of(state.document, resize).losers
        answers = self._ask(state, resize, shards, look, _CLEARED_WITHIN)
        found = {shard: why for shard, why in answers.given.items() if why is not None}
        return {**answers.failed, **found}

    def ask_sentinels(self, state: PoolState) -> None:
        """Learn which Sentinels are silent, before clients hold commands: see `_while_held`."""
        addresses = state.document.sentinels
        with SentinelGroup.from_config(self._config, self._networks, addresses) as sentinels:
            self._silent[state.document.pool] = sentinels.silent()

    def look(self, state: PoolState, resize: Resize) -> MasterAnswers[Seen]:
        """Return who is connected to the shards that clients may be fenced off."""
        return self._while_held(state, resize, self._looking_alone)

    def fence(
        self, state: PoolState, resize: Resize, version: int, acknowledged: Container[str]
    ) -> MasterAnswers[int]:
        """Fence those shards; the answers are how many connections were killed."""
        return self._while_held(state, resize, self._fencing(version, acknowledged))

    def look_at_fenced(self, state: PoolState, record: FenceRecord) -> MasterAnswers[Seen]:
        """Return who is connected to the shards that a fence is on."""
        return self._fenced(state, record).ask(record.masters, _looking, within=_KEPT)

    def fence_again(
        self, state: PoolState, record: FenceRecord, acknowledged: Container[str]
    ) -> MasterAnswers[int]:
        """Keep a fence up, also at masters that were promoted meanwhile."""
        ask = self._fencing(record.version, acknowledged)
        return self._fenced(state, record).ask(record.masters, ask, within=_KEPT)

    def lift(self, state: PoolState, record: FenceRecord) -> MasterAnswers[None]:
        """Remove the markers of a fence."""

        def lower(_: str, connection: BoundedConnection) -> None:
            lift(connection, record.version)

        return self._fenced(state, record).ask(record.masters, lower, within=_KEPT)

    def forget(self, store: Store, sweep: Sweep, sentinels: tuple[str, ...]) -> None:
        """Have the Sentinels forget a shard that has left, and whose data is lost.

        Raises:
            CacheMeshError, redis.RedisError: its sweep, or the intent to forget it, is left.
        """
        detail = (
            f"the data of {sweep.shard} is lost, as an operator has said: it is not waited for, "
            "and what it holds remains there: empty it before it is used again"
        )
        event = NewEvent("sweep.given-up", pool=sweep.pool, target=sweep.shard, detail=detail)
        intent = end_drained(store, sweep, sweep.master or "", sentinels, event)
        if intent is not None:
            with SentinelGroup.from_config(self._config, self._networks, sentinels) as group:
                forget_shard(store, group, intent)

    def _looking_alone(self, _: str, connection: BoundedConnection) -> Seen:
        """Look, and have nothing of an earlier term come there any more."""
        seen = look(connection)
        self._term.end_earlier(connection, seen.connected)
        return seen

    def _fencing(self, version: int, acknowledged: Container[str]) -> AskMaster[int]:
        def close_off(_: str, connection: BoundedConnection) -> int:
            self._term.shut_out(connection)
            return fence(connection, version, acknowledged)

        return close_off

    def _while_held(self, state: PoolState, resize: Resize, ask: AskMaster[T]) -> MasterAnswers[T]:
        """Ask the shards that clients may be fenced off while these hold commands.

        A Sentinel that was silent just before is waited for no longer than a moment. All others
        are: one of them may be alone in knowing of a failover.
        """
        shards = concerned(state.document, resize)
        silent = self._silent.get(state.document.pool, frozenset())
        return self._ask(state, resize, shards, ask, _HELD, silent)

    def _ask(
        self,
        state: PoolState,
        resize: Resize,
        shards: Collection[str],
        ask: AskMaster[T],
        within: float,
        hurried: Container[str] = (),
    ) -> MasterAnswers[T]:
        """Ask the masters that all Sentinels name: a former one has neither clients nor keys."""
        now = agreed_masters(self._config, self._networks, state, resize, shards, hurried)
        asked = [shard for shard in shards if shard not in now.disputed]
        found = self._at(state, now.known, hurried).ask(asked, ask, within=within)
        failed, masters = {**found.failed, **now.disputed}, masters_of(state, resize)
        at = {shard: masters[shard] for shard in now.disputed if shard in masters}
        return replace(found, failed=failed, masters={**at, **found.masters})

    def _fenced(self, state: PoolState, record: FenceRecord) -> ShardMasters:
        return self._at(state, {**record.masters, **state.masters})

    def _at(
        self, state: PoolState, known: Mapping[str, str], hurried: Container[str] = ()
    ) -> ShardMasters:
        return ShardMasters(
            self._config,
            self._networks,
            state.document.sentinels,
            known,
            opened=self._term.enter,
            limits=LISTED_OR_SCANNED,
            hurried=hurried,
        )


def _looking(_: str, connection: BoundedConnection) -> Seen:
    return look(connection)
