"""Asking the masters of many shards at once, each at the address where it was known last.

Sentinels are asked only for the masters that fail there: clients may be holding commands meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import redis

from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import Ask, BoundedConnection, ask_all, reason_of
from metaserver.redis_io.client_list import LISTED
from metaserver.redis_io.resp import Limits
from metaserver.redis_io.sentinel_group import SentinelGroup

T = TypeVar("T")

AskMaster: TypeAlias = "Callable[[str, BoundedConnection], T]"
"""Asks the master of a shard. It has to raise a `redis.RedisError` if the instance is no master."""


class NotShardMasterError(redis.ReadOnlyError):
    """The instance is not the shard's master, or no longer is; the message has its address."""


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


class ShardMasters:
    """The masters of the shards of a pool.

    Args:
        sentinels: "host:port" each.
        known: shard -> its last known master.
        opened: called with each connection that is opened, as in `BoundedConnection`.
        limits: of the replies to one call.
        timeout: seconds for each reply; None for the usual ones.
        hurried: as of `SentinelGroup`.
    """

    def __init__(
        self,
        config: Config,
        networks: AllowedNetworks,
        sentinels: Sequence[str],
        known: Mapping[str, str],
        *,
        opened: Callable[[Ask], None] | None = None,
        limits: Limits = LISTED,
        timeout: float | None = None,
        hurried: Container[str] = (),
    ) -> None:
        self._timeout = config.instance_timeout if timeout is None else timeout
        self._limits = limits
        self._config = config
        self._networks = networks
        self._sentinels = sentinels
        self._known = known
        self._opened = opened
        self._hurried = hurried

    def ask(self, shards: Collection[str], ask: AskMaster[T], *, within: float) -> MasterAnswers[T]:
        """Ask the masters of these shards.

        Args:
            within: seconds for all masters at known addresses, and for those that Sentinels name.
        """
        masters = {shard: self._known[shard] for shard in shards if shard in self._known}
        first = self._ask_at(masters, ask, within)
        missing = [shard for shard in shards if shard not in first.given]
        if not missing:
            return first
        named = self._named_anew(missing)
        second = self._ask_at(named, ask, within)
        unknown = dict.fromkeys(missing, "nothing tells its master")
        failed = {**unknown, **first.failed, **second.failed}
        return MasterAnswers(
            {**first.given, **second.given},
            {shard: why for shard, why in failed.items() if shard not in second.given},
            {**masters, **named},
        )

    def _named_anew(self, shards: Collection[str]) -> dict[str, str]:
        """Return the masters that all Sentinels name, where it is another than the known one."""
        group = SentinelGroup.from_config(
            self._config, self._networks, self._sentinels, self._hurried
        )
        with group as sentinels:
            agreed = sentinels.agreed(shards)
        return {
            shard: address
            for shard, address in agreed.items()
            if address is not None and address != self._known.get(shard)
        }

    def _ask_at(
        self, masters: Mapping[str, str], ask: AskMaster[T], within: float
    ) -> MasterAnswers[T]:
        connections = {shard: self._connection(address) for shard, address in masters.items()}
        shard_at = {id(connection): shard for shard, connection in connections.items()}
        try:
            answers = ask_all(
                connections,
                lambda connection: ask(shard_at[id(connection)], connection),
                within=within,
            )
        finally:
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

    def _connection(self, address: str) -> BoundedConnection:
        auth, limits = self._config.redis_auth, self._limits
        return BoundedConnection(address, self._networks, auth, self._timeout, limits, self._opened)


def _reason(address: str, error: redis.RedisError) -> str:
    reason = reason_of(error)
    return reason if isinstance(error, NotShardMasterError) else f"{address}: {reason}"
