"""Fencing off clients at an instance: the marker, and the killing of connections.

    look    who is connected, has not acknowledged, and whether the marker is there
    fence   set the marker, have the replicas take it, then kill until nobody is left
    lift    remove the marker

The marker comes first: a connection that reads no marker has its name already, see
`cachemesh.core.fencing`, and is killed. Connections of other software are left alone.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

import redis

from cachemesh.core.fencing import MARKER, client_of, parse_marker
from cachemesh.core.plurals import counted
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.reply_parsers import NotRedisError, parse_role, printable
from metaserver.redis_io.resp import Limits
from metaserver.redis_io.term_fence import TermFence

_LISTED = Limits(16 * 1024 * 1024, 50_000)
"""For CLIENT LIST, with about 350 bytes for each connection."""
_REPLICAS_MS = 100  # within which replicas shall have the marker
_KILLED_AT_ONCE = 500
_ROUNDS = 10  # of listing and killing in one call; a client that connects each time is refused
_NAMED = 3  # kinds of other software that a warning names


@dataclass(frozen=True)
class Connected:
    """A connection of an instance, as CLIENT LIST has it.

    Attributes:
        client: the id of the client of this pool; None for other software.
        software: the name or the library of other software; "" if it tells neither.
    """

    id: int
    client: str | None
    software: str


@dataclass(frozen=True)
class Seen:
    """What a look at an instance has found.

    Attributes:
        clients: ids of the clients with a connection, in no order.
        marker: the version in the marker; None without one.
        others: software -> how many connections it has.
    """

    clients: frozenset[str]
    marker: int | None
    others: Mapping[str, int]


def fencing_connection(
    address: str, networks: AllowedNetworks, config: Config, term: TermFence
) -> BoundedConnection:
    """Return a connection of a term to an instance, for the functions of this module."""
    auth, timeout = config.redis_auth, config.instance_timeout
    return BoundedConnection(address, networks, auth, timeout, _LISTED, term.enter)


def look(connection: BoundedConnection) -> Seen:
    """Return who is connected to a master, and its marker.

    Raises:
        redis.RedisError: also if the instance is no master.
    """
    role, marker, listed = connection.call_all([("ROLE",), ("GET", MARKER), ("CLIENT", "LIST")])
    for reply in (role, marker):
        if isinstance(reply, redis.RedisError):
            raise reply
    found = parse_role(role)
    if found.role != "master":
        raise redis.ReadOnlyError(f"is a {found.role}, not the master")
    others: dict[str, int] = {}
    clients: set[str] = set()
    for each in _connections(listed):
        if each.client is not None:
            clients.add(each.client)
        elif each.software:
            others[each.software] = others.get(each.software, 0) + 1
    return Seen(frozenset(clients), parse_marker(marker), others)


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
    marker = parse_marker(connection.call("GET", MARKER))
    if marker is None or marker < version:
        connection.call("SET", MARKER, version)
        replicas = len(parse_role(connection.call("ROLE")).replicas)
        if replicas:
            connection.call("WAIT", replicas, _REPLICAS_MS)
    return kill(connection, acknowledged)


def kill(connection: BoundedConnection, acknowledged: Container[str]) -> int:
    """Kill the connections of all clients that have not acknowledged; args as `fence`.

    Returns:
        How many connections were killed.

    Raises:
        redis.RedisError: clients are left.
    """
    killed = 0
    for _ in range(_ROUNDS):
        left = [
            each.id
            for each in _connections(connection.call("CLIENT", "LIST"))
            if each.client is not None and each.client not in acknowledged
        ]
        if not left:
            return killed
        for first in range(0, len(left), _KILLED_AT_ONCE):
            some = left[first : first + _KILLED_AT_ONCE]
            for reply in connection.call_all([("CLIENT", "KILL", "ID", each) for each in some]):
                # Any other error reply says that the connection is gone already.
                if isinstance(reply, redis.exceptions.NoPermissionError):
                    raise reply
        killed += len(left)
    raise redis.ResponseError(f"{counted(len(left), 'connection')} came again and again")


def lift(connection: BoundedConnection) -> None:
    """Remove the marker.

    Raises:
        redis.RedisError
    """
    connection.call("DEL", MARKER)


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


def _connections(reply: object) -> Iterator[Connected]:
    if isinstance(reply, redis.RedisError):
        raise reply
    if not isinstance(reply, bytes):
        raise NotRedisError("the reply to CLIENT LIST is no text")
    for line in reply.split(b"\n"):
        fields = dict(_pairs(line.split(b" ")))
        number = fields.get(b"id", b"")
        if not number.isdigit() or len(number) > 20:
            continue
        name = printable(fields.get(b"name", b""))
        client = client_of(name)
        software = "" if client or _is_server(fields, name) else _software(fields, name)
        yield Connected(int(number), client, software)


def _pairs(words: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for word in words:
        name, equals, value = word.partition(b"=")
        if equals:
            yield name, value


def _is_server(fields: Mapping[bytes, bytes], name: str) -> bool:
    """Whether the connection is of a replica, a master, a Sentinel or a metaserver."""
    servers = ("sentinel-", "cachemesh-term:")
    return bool(set(fields.get(b"flags", b"")) & set(b"SM")) or name.startswith(servers)


def _software(fields: Mapping[bytes, bytes], name: str) -> str:
    return (name or printable(fields.get(b"lib-name", b"")))[:40]
