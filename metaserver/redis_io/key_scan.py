"""Going through all keys of a master, with SCAN."""

from __future__ import annotations

from metaserver.domain.info_fields import keys_by_database
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.client_list import LISTED
from metaserver.redis_io.reply_parsers import NotRedisError, parse_fields, parse_role
from metaserver.redis_io.resp import LARGE, Limits
from metaserver.redis_io.shard_masters import NotShardMasterError

LISTED_OR_SCANNED = Limits(LISTED.size, LARGE.elements)
"""For connections over which CLIENT LIST is asked as well as SCAN."""


def require_master(connection: BoundedConnection) -> None:
    """Raise `NotShardMasterError` if the instance is a replica; redis.RedisError if it fails."""
    role = parse_role(connection.call("ROLE"))
    if role.role != "master":
        raise NotShardMasterError(f"{connection.address} is a replica of {role.master}")


def replication_id_of(connection: BoundedConnection) -> str:
    """Return the replication id of a master, which is another one once it was a replica meanwhile.

    Source: https://redis.io/docs/latest/operate/oss_and_stack/management/replication/.

    Raises:
        NotShardMasterError: the instance is a replica.
        redis.RedisError: it failed.
    """
    found = parse_fields(connection.call("INFO", "replication"))
    if found.get("role") != "master":
        master = f"{found.get('master_host')}:{found.get('master_port')}"
        raise NotShardMasterError(f"{connection.address} is a replica of {master}")
    return found.get("master_replid", "")


def databases_of(connection: BoundedConnection) -> dict[int, int]:
    """Return how many keys each database has, of those that have any, by number.

    Raises:
        redis.RedisError: the instance failed.
    """
    connection.call("SELECT", 0)
    return keys_by_database(parse_fields(connection.call("INFO", "keyspace")))


def scanned(reply: object) -> tuple[bytes, list[bytes]]:
    """Return the cursor and the keys in a reply to SCAN.

    Raises:
        NotRedisError: it is none.
    """
    if not isinstance(reply, list) or len(reply) != 2 or not isinstance(reply[1], list):
        raise NotRedisError("the reply to SCAN is not a cursor and a list")
    cursor, keys = reply
    if not isinstance(cursor, bytes) or not cursor.isdigit() or len(cursor) > 20:
        raise NotRedisError("SCAN gives no cursor")
    if not set(map(type, keys)) <= {bytes}:
        raise NotRedisError("SCAN gives something else than keys")
    return cursor, keys
