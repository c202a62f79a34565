"""The connections of an instance as an operator looks at them: by app, idle longest, large output.

Source: https://redis.io/docs/latest/commands/client-list/.
"""

from __future__ import annotations

import heapq
from dataclasses import asdict, dataclass, field
from typing import Any

import redis

from cachemesh.core.client_list import ListedConnection, listed_connections
from cachemesh.core.connection_names import own_name
from cachemesh.core.fencing import client_of
from metaserver.domain.info_fields import integer
from metaserver.process.config import Config
from metaserver.process.turns import let_others_run
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import BoundedConnection, ask_all, reason_of
from metaserver.redis_io.client_list import LISTED, Owner, owner_of, software_of
from metaserver.redis_io.reply_parsers import NotRedisError, printable

LARGE_OUTPUT = 1024 * 1024
"""From so many bytes on, output that a client has not taken yet is large."""
MOST = 128  # connections that are named one by one
_IDLE_OWNERS = ("app", "other")
_GROUPS = 100
_USERS = 5  # of a group
_LONGEST = 100  # characters of a text
_AT_ONCE = 500  # lines that are read before others have a turn


@dataclass(frozen=True)
class OpenConnection:
    """One connection.

    Attributes:
        owner: who has opened it.
        name: the app's own name for it; of other software its name or library; may be empty.
        client: the id of the client of a pool, else None.
        address: where it comes from.
        user: that it has logged in as.
        command: its last one.
        age_seconds, idle_seconds: since it was opened, and since its last command.
        output_bytes: of replies and messages that it has not taken yet.
        blocked: whether a command of it waits, as BLPOP does.
        subscribed: to how many channels and patterns.
    """

    id: int
    owner: Owner
    name: str
    client: str | None
    address: str
    user: str
    command: str
    age_seconds: int
    idle_seconds: int
    output_bytes: int
    blocked: bool
    subscribed: int

    def to_dict(self) -> dict[str, Any]:
        """Return the connection as docs/api.md shows it."""
        return asdict(self)


@dataclass
class ConnectionGroup:
    """The connections of one app, or of other software of one name.

    Attributes:
        owner, name: as of `OpenConnection`.
        connections: how many there are.
        clients: ids of clients of a pool.
        hosts: from where they come.
        users: that they have logged in as.
        idle_seconds: of the one that is idle longest.
        output_bytes: of all together.
        blocked, subscribed: how many wait in a command, and how many have subscribed.
    """

    owner: Owner
    name: str
    connections: int = 0
    clients: set[str] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    idle_seconds: int = 0
    output_bytes: int = 0
    blocked: int = 0
    subscribed: int = 0

    def add(self, one: OpenConnection) -> None:
        """Count a connection."""
        self.connections += 1
        if one.client is not None:
            self.clients.add(one.client)
        self.hosts.add(one.address.rpartition(":")[0])
        self.users.add(one.user)
        self.idle_seconds = max(self.idle_seconds, one.idle_seconds)
        self.output_bytes += one.output_bytes
        self.blocked += one.blocked
        self.subscribed += one.subscribed > 0

    def to_dict(self) -> dict[str, Any]:
        """Return the group as docs/api.md shows it."""
        found = {name: value for name, value in vars(self).items() if not isinstance(value, set)}
        return {
            **found,
            "clients": len(self.clients),
            "hosts": len(self.hosts),
            "users": sorted(self.users)[:_USERS],
        }


@dataclass(frozen=True)
class OpenConnections:
    """All connections of an instance.

    Attributes:
        count: how many there are.
        groups: those with most connections first, `_GROUPS` at most.
        groups_left_out: how many there are beyond these.
        idle: those of apps and other software that are idle longest; servers are not among them.
        large_output: those with `LARGE_OUTPUT` or more, the largest first.
    """

    count: int
    groups: tuple[ConnectionGroup, ...]
    groups_left_out: int
    idle: tuple[OpenConnection, ...]
    large_output: tuple[OpenConnection, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return them as docs/api.md shows them."""
        return {
            "connections": self.count,
            "groups": [each.to_dict() for each in self.groups],
            "groups_left_out": self.groups_left_out,
            "idle": [each.to_dict() for each in self.idle],
            "large_output": [each.to_dict() for each in self.large_output],
        }


NONE = OpenConnections(0, (), 0, (), ())


def ask_connections(
    address: str, limit: int, config: Config, networks: AllowedNetworks
) -> OpenConnections | str:
    """Ask an instance for its connections; return them, or why it did not tell.

    Args:
        limit: how many are named one by one, `MOST` at most.
    """
    timeout = config.instance_timeout
    connection = BoundedConnection(address, networks, config.redis_auth, timeout, LISTED)
    try:
        told = ask_all({address: connection}, _list, within=timeout)[address]
    finally:
        connection.close()
    try:
        if isinstance(told, redis.RedisError):
            raise told
        return parse_connections(told, limit)
    except redis.RedisError as error:
        return reason_of(error)


def _list(connection: BoundedConnection) -> object:
    reply: object = connection.call("CLIENT", "LIST")
    return reply


def parse_connections(reply: object, limit: int) -> OpenConnections:
    """Return what a reply to CLIENT LIST tells; other greenlets run meanwhile.

    Args:
        limit: how many connections are named one by one.

    Raises:
        NotRedisError: the reply is no text.
    """
    if not isinstance(reply, bytes):
        raise NotRedisError("the reply to CLIENT LIST is no text")
    opened: list[OpenConnection] = []
    groups: dict[tuple[Owner, str], ConnectionGroup] = {}
    for number, listed in enumerate(listed_connections(reply), 1):
        one = _connection(listed)
        opened.append(one)
        key = one.owner, one.name
        if key not in groups:
            groups[key] = ConnectionGroup(*key)
        groups[key].add(one)
        if number % _AT_ONCE == 0:
            let_others_run()
    used = [each for each in opened if each.owner in _IDLE_OWNERS]
    large = [each for each in opened if each.output_bytes >= LARGE_OUTPUT]
    return OpenConnections(
        len(opened),
        tuple(heapq.nsmallest(_GROUPS, groups.values(), key=_place)),
        max(0, len(groups) - _GROUPS),
        tuple(heapq.nlargest(limit, used, key=lambda each: each.idle_seconds)),
        tuple(heapq.nlargest(limit, large, key=lambda each: each.output_bytes)),
    )


def _place(group: ConnectionGroup) -> tuple[int, str, str]:
    return -group.connections, group.owner, group.name


def _connection(listed: ListedConnection) -> OpenConnection:
    name, flags = printable(listed.field(b"name")), listed.field(b"flags")
    owner, client = owner_of(name, flags), client_of(name)
    if owner == "app":
        name = own_name(client, name) or ""
    elif owner == "other":
        name = software_of(listed)
    else:
        name = ""  # Sentinels, and the terms of metaservers, have one for each
    return OpenConnection(
        id=listed.id,
        owner=owner,
        name=name[:_LONGEST],
        client=None if client is None else client[:_LONGEST],
        address=_text(listed, b"addr"),
        user=_text(listed, b"user"),
        command=_text(listed, b"cmd"),
        age_seconds=_number(listed, b"age"),
        idle_seconds=_number(listed, b"idle"),
        output_bytes=_number(listed, b"obl") + _number(listed, b"omem"),
        blocked=b"b" in flags,
        subscribed=sum(_number(listed, kind) for kind in (b"sub", b"psub", b"ssub")),
    )


def _text(listed: ListedConnection, name: bytes) -> str:
    return printable(listed.field(name))[:_LONGEST]


def _number(listed: ListedConnection, name: bytes) -> int:
    """Return a field that counts something; 0 where it is missing, or no number."""
    return max(0, integer(listed.field(name).decode("ascii", "replace")) or 0)
