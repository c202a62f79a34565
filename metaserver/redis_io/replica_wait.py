"""Waiting until replicas have all that their master had."""

from __future__ import annotations

import redis

from cachemesh.core.migration.pull import CHANNEL
from metaserver.process.config import Config
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.fence import replicas_of_master
from metaserver.redis_io.reply_parsers import NotRedisError


def wait_ms(config: Config) -> int:
    """Return for how many milliseconds a master may wait for its replicas: its reply is in time."""
    return int(500 * config.instance_timeout)


def needed_by(connection: BoundedConnection) -> int:
    """Return for how many of its replicas a master is to wait: for one, where it has any.

    Raises:
        NotShardMasterError: the instance is a replica.
        redis.RedisError: it failed.
    """
    return min(1, replicas_of_master(connection, connection.call("ROLE")))


def acknowledging(connection: BoundedConnection, needed: int, milliseconds: int) -> int:
    """Return how many replicas have all that was written to their master before.

    WAIT waits for what its own connection has written, so a PUBLISH goes before it.

    Args:
        needed: for how many to wait.
        milliseconds: for how long.

    Raises:
        redis.RedisError
    """
    replies = connection.call_all([("PUBLISH", CHANNEL, ""), ("WAIT", needed, milliseconds)])
    for reply in replies:
        if isinstance(reply, redis.RedisError):
            raise reply
    count = replies[1]
    if not isinstance(count, int):
        raise NotRedisError("the reply to WAIT is no number")
    return count
