"""What a resize does at shards: clear those that gain keys, look at and fence those that lose some.

All shards are asked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import redis

from cachemesh.core.placement import Placement
from metaserver.domain.pool_state import PoolState
from metaserver.domain.resize import Resize, plan_of, to_clear
from metaserver.loops.instance_sweep import InstanceSweep, NotShardMasterError
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import BoundedConnection, ask_all, reason_of
from metaserver.redis_io.fence import Seen, fence, fencing_connection, look
from metaserver.redis_io.sentinel_group import SentinelGroup
from metaserver.redis_io.term_fence import TermFence

T = TypeVar("T")

_CLEARED_WITHIN = 24 * 3600.0  # seconds; each call to an instance has its own, short bound


_HELD = 0.7  # seconds for a shard to answer while clients hold commands


class ClearingCancelled(redis.RedisError):
    """The resize is over, or another process leads."""


@dataclass(frozen=True)
class MasterAnswers(Generic[T]):
    """What the masters of shards have answered.

    Attributes:
        given: shard -> its answer.
        failed: shard -> why there is none.
        masters: shard -> the address that was asked, last.
    """

    given: Mapping[str, T]
    failed: Mapping[str, str]
    masters: Mapping[str, str]


class ResizeShards:
    """The shards of pools, asked through their masters as the Sentinels name them.

    Args:
        term: shuts out what an earlier leader, paused meanwhile, may be about to send.
    """

    def __init__(self, config: Config, networks: AllowedNetworks, term: TermFence) -> None:
        self._config = config
        self._networks = networks
        self._term = term

    def clear(
        self, state: PoolState, resize: Resize, cancelled: Callable[[], bool]
    ) -> Mapping[str, str]:
        """Remove the keys that the shards which gain some do not own by now.

        Returns:
            Shard -> why it could not be cleared. Empty: no such key is left.
        """
        placement = state.document.placement
        shards = to_clear(plan_of(state.document, resize))

        def current() -> Placement:
            if cancelled():
                raise ClearingCancelled("the resize is over")
            return placement

        known = {**resize.masters, **state.masters}

        def sweep(shard: str, connection: BoundedConnection) -> None:
            self._term.shut_out(connection)
            InstanceSweep(connection, shard, current, lambda _: None).run()

        return self._ask(state.document.sentinels, known, shards, sweep, _CLEARED_WITHIN).failed

    def look(self, state: PoolState, resize: Resize) -> MasterAnswers[Seen]:
        """Return who is connected to the shards that lose keys."""
        shards = plan_of(state.document, resize).losers
        known = {**resize.masters, **state.masters}
        return self.ask(state.document.sentinels, known, shards, look, within=_HELD)

    def fence(
        self, state: PoolState, resize: Resize, version: int, acknowledged: Container[str]
    ) -> MasterAnswers[int]:
        """Fence the shards that lose keys; the answers are how many connections were killed."""
        shards = plan_of(state.document, resize).losers
        known = {**resize.masters, **state.masters}
        return self.ask(
            state.document.sentinels,
            known,
            shards,
            self.fencing(version, acknowledged),
            within=_HELD,
        )

    def fencing(
        self, version: int, acknowledged: Container[str]
    ) -> Callable[[BoundedConnection], int]:
        """Return what fences one master for `ask`, in the name of this term."""

        def close_off(connection: BoundedConnection) -> int:
            self._term.shut_out(connection)
            return fence(connection, version, acknowledged)

        return close_off

    def ask(
        self,
        sentinels: Sequence[str],
        known: Mapping[str, str],
        shards: Collection[str],
        ask: Callable[[BoundedConnection], T],
        *,
        within: float,
    ) -> MasterAnswers[T]:
        """Ask the masters of these shards.

        Args:
            within: seconds for all of them.
            known: shard -> its last known master. Sentinels are asked only where that one fails:
                clients may be holding commands meanwhile.
            ask: has to raise a `redis.RedisError` if the instance is no master.
        """
        return self._ask(sentinels, known, shards, lambda _, each: ask(each), within)

    def _ask(
        self,
        sentinels: Sequence[str],
        known: Mapping[str, str],
        shards: Collection[str],
        ask: Callable[[str, BoundedConnection], T],
        within: float,
    ) -> MasterAnswers[T]:
        masters = {shard: known[shard] for shard in shards if shard in known}
        first = self._ask_at(masters, ask, within)
        missing = [shard for shard in shards if shard not in first.given]
        if not missing:
            return first
        named: dict[str, str] = {}
        with SentinelGroup.from_config(self._config, self._networks, sentinels) as group:
            for shard in missing:
                address = group.master_of(shard)
                if address is not None and address != masters.get(shard):
                    named[shard] = address
        second = self._ask_at(named, ask, within)
        unknown = dict.fromkeys(missing, "nothing tells its master")
        return MasterAnswers(
            {**first.given, **second.given},
            {
                shard: why
                for shard, why in {**unknown, **first.failed, **second.failed}.items()
                if shard not in second.given
            },
            {**masters, **named},
        )

    def _ask_at(
        self,
        masters: Mapping[str, str],
        ask: Callable[[str, BoundedConnection], T],
        within: float,
    ) -> MasterAnswers[T]:
        connections = {
            shard: fencing_connection(address, self._networks, self._config, self._term)
            for shard, address in masters.items()
        }
        names = {id(connection): shard for shard, connection in connections.items()}
        answers = ask_all(
            connections, lambda connection: ask(names[id(connection)], connection), within=within
        )
        for connection in connections.values():
            connection.close()
        given: dict[str, T] = {}
        failed: dict[str, str] = {}
        for shard, answer in answers.items():
            if isinstance(answer, redis.RedisError):
                failed[shard] = _reason(masters[shard], answer)
            else:
                given[shard] = answer
        return MasterAnswers(given, failed, dict(masters))


def _reason(address: str, error: redis.RedisError) -> str:
    reason = reason_of(error)
    return reason if isinstance(error, NotShardMasterError) else f"{address}: {reason}"
