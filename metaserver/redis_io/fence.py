"""Fencing off clients at an instance: the marker, and the killing of connections.

    look    who is connected, has not acknowledged, and whether the marker is there
    fence   set the marker, have the replicas take it, then kill until nobody is left
    lift    remove the marker

The marker comes first: a connection that reads no marker has its name already, see
`cachemesh.core.fencing`, and is killed. Connections of other software are left alone.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

import redis

from cachemesh.core.fencing import MARKER, parse_marker
from cachemesh.core.plurals import counted
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.client_list import Connected, connections, kill, parse_client_list
from metaserver.redis_io.reply_parsers import parse_fields, parse_role
from metaserver.redis_io.shard_masters import NotShardMasterError

_REPLICAS_MS = 100  # within which replicas shall have the marker
_ROUNDS = 10  # of listing and killing in one call; a client that connects each time is refused
_SET_ALWAYS = "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], ARGV[1])"
_NAMED = 3  # kinds of other software that a warning names


@dataclass(frozen=True)
class Seen:
    """What a look at an instance has found.

    Attributes:
        clients: ids of the clients with a connection, in no order.
        marker: the version in the marker; None without one.
        others: software -> how many connections it has.
        replicas: how many replicas are connected.
        connected: all connections.
        mastership: the replication id.
    """

    clients: frozenset[str]
    marker: int | None
    others: Mapping[str, int]
    replicas: int = 0
    connected: tuple[Connected, ...] = ()
    mastership: str = ""


def look(connection: BoundedConnection) -> Seen:
    """Return who is connected to a master, and its marker.

    Raises:
        redis.RedisError: also if the instance is no master.
    """
    role, marker, info, listed = connection.call_all(
        [("ROLE",), ("GET", MARKER), ("INFO", "replication"), ("CLIENT", "LIST")]
    )
    replicas = replicas_of_master(connection, role)
    for reply in (marker, info):
        if isinstance(reply, redis.RedisError):
            raise reply
    mastership = parse_fields(info).get("master_replid", "")
    others: dict[str, int] = {}
    clients: set[str] = set()
    connected = tuple(parse_client_list(listed))
    for each in connected:
        if each.client is not None:
            clients.add(each.client)
        elif each.software:
            others[each.software] = others.get(each.software, 0) + 1
    return Seen(frozenset(clients), parse_marker(marker), others, replicas, connected, mastership)


def marker_of(connection: BoundedConnection) -> int | None:
    """Return the version in the marker of an instance; None without one, or without permission.

    Raises:
        redis.RedisError
    """
    try:
        return parse_marker(connection.call("GET", MARKER))
    except redis.ResponseError:
        return None


def fence(connection: BoundedConnection, version: int, acknowledged: Container[str]) -> int:
    """Let no client act on a version below `version` at this master, and kill who might.

    Args:
        acknowledged: ids of the clients whose connections stay.

    Returns:
        How many connections were killed.

    Raises:
        redis.RedisError: nobody is fenced for certain.
    """
    role, marked = connection.call_all([("ROLE",), ("GET", MARKER)])
    # A master that became a replica may have the marker, and must not count as fenced.
    replicas = replicas_of_master(connection, role)
    if isinstance(marked, redis.RedisError):
        raise marked
    marker = parse_marker(marked)
    if marker is None or marker < version:
        try:
            _set_marker(connection, version)
        except redis.RedisError:
            _kill_late(connection, acknowledged)  # for now: who comes back is not refused
            raise
        if replicas:
            connection.call("WAIT", replicas, _REPLICAS_MS)
    return _kill_late(connection, acknowledged)


def _set_marker(connection: BoundedConnection, version: int) -> None:
    """Set the marker, also at an instance that has no room for more keys.

    Source: https://redis.io/docs/latest/develop/programmability/eval-intro/, on `allow-oom`, from
    Redis 7.0 on.
    """
    try:
        connection.call("SET", MARKER, version)
    except redis.ResponseError as error:
        if not str(error).startswith("OOM"):
            raise
        try:
            connection.call("EVAL", _SET_ALWAYS, 1, MARKER, version)
        except redis.ResponseError:
            raise error from None


def lift(connection: BoundedConnection, version: int) -> None:
    """Remove the marker, unless a later resize has set it.

    Raises:
        redis.RedisError: also if it was set just now.
    """
    watched, marked = connection.call_all([("WATCH", MARKER), ("GET", MARKER)])
    for reply in (watched, marked):
        if isinstance(reply, redis.RedisError):
            raise reply
    marker = parse_marker(marked)
    if marker is not None and marker > version:
        connection.call("UNWATCH")
        return
    *_, done = connection.call_all([("MULTI",), ("DEL", MARKER), ("EXEC",)])
    if isinstance(done, redis.RedisError):
        raise done
    if done is None:
        raise redis.WatchError("the marker was set just now")


def cannot_be_fenced(shard: str, address: str, others: Mapping[str, int]) -> str | None:
    """Return a warning about connections of other software; None if there are none."""
    if not others:
        return None
    count = sum(others.values())
    names = sorted(others)
    more = ", ..." if len(names) > _NAMED else ""
    return (
        f"shard {shard} ({address}) has {counted(count, 'connection')} of other software "
        f"({', '.join(names[:_NAMED])}{more}): it is not told of the resize and cannot be fenced"
    )


def replicas_of_master(connection: BoundedConnection, reply: object) -> int:
    """Return the number of replicas in a reply to ROLE; raise unless it is a master's."""
    if isinstance(reply, redis.RedisError):
        raise reply
    found = parse_role(reply)
    if found.role != "master":
        raise NotShardMasterError(f"{connection.address} is a {found.role}, not the master")
    return len(found.replicas)


def _kill_late(connection: BoundedConnection, acknowledged: Container[str]) -> int:
    """Kill the connections of all clients that have not acknowledged; returns as `fence`."""
    killed = 0
    for _ in range(_ROUNDS):
        left = [
            each.id
            for each in connections(connection)
            if each.client is not None and each.client not in acknowledged
        ]
        if not left:
            return killed
        kill(connection, left)
        killed += len(left)
    raise redis.ResponseError(f"{counted(len(left), 'connection')} came again and again")
