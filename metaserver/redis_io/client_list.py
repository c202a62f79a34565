"""The connections of an instance, as CLIENT LIST has them, and the end of some of them.

name=cachemesh:ID...         a client of a pool
name=cachemesh-term:EPOCH    a metaserver, in a term
anything else                other software; a replica, a master or a Sentinel

Source: https://redis.io/docs/latest/commands/client-list/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import redis

from cachemesh.core.client_list import ListedConnection, listed_connections
from cachemesh.core.fencing import client_of
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.reply_parsers import NotRedisError, printable
from metaserver.redis_io.resp import Limits

LISTED = Limits(32 * 1024 * 1024, 1000)
"""For CLIENT LIST, with about 350 bytes for each connection."""
Owner: TypeAlias = Literal["app", "metaserver", "sentinel", "replica", "master", "other"]
"""Who has opened a connection: a client of a pool is an app, other software is other."""
TERM = "cachemesh-term:"
"""How the name of a connection begins that a metaserver opened in a term."""
_KILLED_AT_ONCE = 500
_DIGITS = 20  # of an epoch, at most


@dataclass(frozen=True)
class Connected:
    """A connection of an instance.

    Attributes:
        client: the id of the client of a pool; None for any other connection.
        epoch: of the term of a metaserver; None for any other connection.
        software: the name or the library of other software; "" if it tells neither.
    """

    id: int
    client: str | None = None
    epoch: int | None = None
    software: str = ""


def connections(connection: BoundedConnection) -> list[Connected]:
    """Return the connections of an instance.

    Raises:
        redis.RedisError
    """
    return list(parse_client_list(connection.call("CLIENT", "LIST")))


def parse_client_list(reply: object) -> Iterator[Connected]:
    """Yield the connections that a reply to CLIENT LIST names; raise an error reply.

    Raises:
        redis.RedisError
    """
    if isinstance(reply, redis.RedisError):
        raise reply
    if not isinstance(reply, bytes):
        raise NotRedisError("the reply to CLIENT LIST is no text")
    yield from map(_connected, listed_connections(reply))


def kill(connection: BoundedConnection, ids: Iterable[int]) -> None:
    """End connections of an instance; one that is gone already is none to worry about.

    Raises:
        redis.RedisError: some may be left.
    """
    left = list(ids)
    for first in range(0, len(left), _KILLED_AT_ONCE):
        some = left[first : first + _KILLED_AT_ONCE]
        for reply in connection.call_all([("CLIENT", "KILL", "ID", each) for each in some]):
            # Any other error reply says that the connection is gone already.
            if isinstance(reply, redis.exceptions.NoPermissionError):
                raise reply


def owner_of(name: str, flags: bytes) -> Owner:
    """Return who has opened a connection, by its name and the flags of CLIENT LIST."""
    if client_of(name) is not None:
        return "app"
    if name.startswith(TERM):
        return "metaserver"
    if name.startswith("sentinel-"):
        return "sentinel"
    if b"S" in flags:
        return "replica"
    return "master" if b"M" in flags else "other"


def software_of(listed: ListedConnection) -> str:
    """Return the name or the library of other software; "" if it tells neither."""
    return printable(listed.field(b"name") or listed.field(b"lib-name"))


def _connected(listed: ListedConnection) -> Connected:
    name = printable(listed.field(b"name"))
    owner = owner_of(name, listed.field(b"flags"))
    if owner == "metaserver":
        epoch = name[len(TERM) :].encode()
        known = epoch.isdigit() and len(epoch) <= _DIGITS
        return Connected(listed.id, epoch=int(epoch) if known else None)
    software = software_of(listed)[:40] if owner == "other" else ""
    return Connected(listed.id, client_of(name), software=software)
