"""What one Sentinel says about shards, asked over one connection.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/#sentinel-api.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import redis

from metaserver.domain.info_fields import by_address, integer
from metaserver.domain.sentinel_view import MonitoredShard
from metaserver.redis_io.bounded_connection import BoundedConnection, reason_of
from metaserver.redis_io.reply_parsers import (
    parse_master,
    parse_pairs,
    parse_rows,
    row_address,
    row_flags,
    whole,
    word,
)

MonitoredShards = dict[str, MonitoredShard]
"""What a Sentinel says about shards, by their names."""

DEFAULT_OPTIONS: Mapping[str, str] = {
    "down-after-milliseconds": "5000",
    "failover-timeout": "60000",
    "parallel-syncs": "1",
}
"""The Sentinel options of a shard whose pool has no other shard to copy them from."""

_QUESTIONS = ("GET-MASTER-ADDR-BY-NAME", "MASTER", "CKQUORUM", "REPLICAS")
_SHARDS_AT_ONCE = 16
"""Shards asked about in one write: the replies have 2.5 KiB for each, and 1 KiB per replica."""


def master_of(connection: BoundedConnection, shard: str) -> str | None:
    """Return the address that the Sentinel gives to clients; None if it does not know the shard."""
    return parse_master(connection.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", shard))


def named_masters(connection: BoundedConnection, shards: Sequence[str]) -> dict[str, str | None]:
    """Return what `master_of` does, for several shards at once.

    Raises:
        redis.RedisError: also if it is no Sentinel, or denies the command.
    """
    question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME")
    replies = connection.call_all([(*question, shard) for shard in shards])
    for reply in replies:
        if isinstance(reply, redis.RedisError):
            raise reply
    return dict(zip(shards, map(parse_master, replies), strict=True))


def masters(connection: BoundedConnection) -> dict[str, str]:
    """Return the master's address of every shard that the Sentinel monitors."""
    rows = parse_rows(connection.call("SENTINEL", "MASTERS"))
    return {row.get("name", ""): row_address(row) for row in rows}


def replicas_of(connection: BoundedConnection, shard: str) -> tuple[str, ...]:
    """Return the addresses of the replicas that the Sentinel knows."""
    return _addresses(connection.call("SENTINEL", "REPLICAS", shard))


def monitored_shards(connection: BoundedConnection, shards: Sequence[str]) -> MonitoredShards:
    """Return what the Sentinel says about these shards; one that it does not know is absent."""
    if not shards:
        connection.call("PING")
    found: MonitoredShards = {}
    for first in range(0, len(shards), _SHARDS_AT_ONCE):
        found |= _some(connection, shards[first : first + _SHARDS_AT_ONCE])
    return found


def _some(connection: BoundedConnection, shards: Sequence[str]) -> dict[str, MonitoredShard]:
    replies = connection.call_all(
        [("SENTINEL", question, shard) for shard in shards for question in _QUESTIONS]
    )
    found = {}
    for index, shard in enumerate(shards):
        at, master, quorum, replicas = replies[4 * index : 4 * index + 4]
        if isinstance(at, redis.ResponseError):
            raise at  # no Sentinel, or one that denies the command
        address = parse_master(at)
        if address is None or redis.ResponseError in map(type, (master, replicas)):
            continue  # the Sentinel does not know the shard, or was just told to forget it
        found[shard] = _monitored_shard(address, parse_pairs(master), quorum, replicas)
    return found


def _monitored_shard(
    address: str, master: Mapping[str, str], quorum: object, replicas: object
) -> MonitoredShard:
    return MonitoredShard(
        # During a failover this is the promoted replica already, unlike SENTINEL MASTER's ip.
        master=address,
        run_id=master.get("runid", ""),
        flags=row_flags(master),
        quorum=whole(master.get("quorum", "0")),
        sentinels=whole(master.get("num-other-sentinels", "0")) + 1,
        usable=not isinstance(quorum, redis.RedisError),
        detail=reason_of(quorum) if isinstance(quorum, redis.RedisError) else word(quorum),
        replicas=_addresses(replicas),
        options={
            name: master[name]
            for name in DEFAULT_OPTIONS
            if integer(master.get(name, "")) is not None
        },
    )


def _addresses(rows: object) -> tuple[str, ...]:
    return tuple(by_address(parse_rows(rows)))
