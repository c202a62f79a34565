"""The masters of the shards of a resize, where all Sentinels that answer name the same."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass

from metaserver.domain.pool_state import PoolState
from metaserver.domain.resize import Resize, masters_of
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.sentinel_group import SentinelGroup

DISPUTED = "too few of its Sentinels answer, or they name different masters, as in a failover"


@dataclass(frozen=True)
class AgreedMasters:
    """Who the masters are by now.

    Attributes:
        known: shard -> its master: what the Sentinels say, where none knows it the last known one.
        disputed: shard -> why its master is not known: what was asked of another instance would
            be lost, or miss the keys that are to be moved.
    """

    known: Mapping[str, str]
    disputed: Mapping[str, str]


def agreed_masters(
    config: Config,
    networks: AllowedNetworks,
    state: PoolState,
    resize: Resize,
    shards: Collection[str],
    hurried: Container[str] = (),
) -> AgreedMasters:
    """Ask the Sentinels of a pool for the masters of some shards.

    Args:
        hurried: as of `SentinelGroup`.
    """
    addresses = state.document.sentinels
    with SentinelGroup.from_config(config, networks, addresses, hurried) as sentinels:
        said = sentinels.agreed(shards)
    disputed = [shard for shard, address in said.items() if address is None]
    known = {**masters_of(state, resize), **said}
    return AgreedMasters(
        {shard: address for shard, address in known.items() if address is not None},
        dict.fromkeys(disputed, DISPUTED),
    )
