"""Which rights a user lacks, and which commands a server does not know: nothing is carried out.

Within MULTI a denied command is refused when it is queued, and nothing runs without EXEC. Unlike
ACL DRYRUN, this needs no right that metaservers do not need anyway, and no Redis 7. A Sentinel has
no MULTI: there each command is about a shard that cannot exist.

Source: https://redis.io/docs/latest/develop/using-commands/transactions/.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import redis

from metaserver.redis_io.bounded_connection import BoundedConnection

Command = tuple[str, ...]

_KEY = "cachemesh:fence"
_NOBODY = ".none"  # no name of a shard: these begin with a letter or a digit
_UNKNOWN = re.compile(r"unknown command", re.IGNORECASE)
_PATTERN = re.compile(r"access (?:one of the|a) (key|channel)")
_ALL = {"key": "~*", "channel": "&*"}

QUEUED: Mapping[str, Command] = {
    "+ping": ("PING",),
    "+info": ("INFO", "server"),
    "+role": ("ROLE",),
    "+select": ("SELECT", "0"),
    "+scan": ("SCAN", "0"),
    "+exists": ("EXISTS", _KEY),
    "+get": ("GET", _KEY),
    "+set": ("SET", _KEY, ""),
    "+del": ("DEL", _KEY),
    "+unlink": ("UNLINK", _KEY),
    "+type": ("TYPE", _KEY),
    "+memory|usage": ("MEMORY", "USAGE", _KEY),
    "+time": ("TIME",),
    "+migrate": ("MIGRATE", "host", "port", _KEY, "0", "1"),
    "+restore": ("RESTORE", _KEY, "0", ""),
    "+wait": ("WAIT", "0", "1"),
    "+publish": ("PUBLISH", "cachemesh:pull", ""),
    "+client|list": ("CLIENT", "LIST"),
    "+client|kill": ("CLIENT", "KILL", "ID", "0"),
    "+client|setname": ("CLIENT", "SETNAME", "cachemesh"),
    "+client|pause": ("CLIENT", "PAUSE", "milliseconds", "WRITE"),
    "+client|unpause": ("CLIENT", "UNPAUSE"),
    "+config|get": ("CONFIG", "GET", "min-replicas-to-write"),
    "+config|set": ("CONFIG", "SET", "min-replicas-to-write", "-1"),
    "+config|rewrite": ("CONFIG", "REWRITE"),
    "+replicaof": ("REPLICAOF", "host", "port"),
    "+slaveof": ("SLAVEOF", "host", "port"),
    "+script|kill": ("SCRIPT", "KILL"),
    "+eval": ("EVAL", "return 1", "0"),
}
"""Right -> a command that needs it and can be queued; with wrong arguments where possible."""

ALONE: Mapping[str, Command] = {
    "+exec": ("EXEC",),
    "+watch": ("WATCH", _KEY),
    "+unwatch": ("UNWATCH",),
    "+subscribe": ("SUBSCRIBE", "cachemesh:pull"),
}
"""Right -> a command that changes nothing but the connection, which is closed afterwards."""

AT_SENTINEL: Mapping[str, Command] = {
    "+sentinel|monitor": ("SENTINEL", "MONITOR", _NOBODY, "127.0.0.1", "1", "none"),
    "+sentinel|set": ("SENTINEL", "SET", _NOBODY, "quorum", "1"),
    "+sentinel|remove": ("SENTINEL", "REMOVE", _NOBODY),
    "+sentinel|failover": ("SENTINEL", "FAILOVER", _NOBODY),
    "+sentinel|ckquorum": ("SENTINEL", "CKQUORUM", _NOBODY),
    **{
        f"+sentinel|{name}": ("SENTINEL", name.upper(), _NOBODY)
        for name in ("get-master-addr-by-name", "master", "replicas", "sentinels")
    },
    "+publish": ("PUBLISH", "__sentinel__:hello", "cachemesh"),
}
"""Right -> a command that a Sentinel refuses for another reason, or ignores."""


@dataclass(frozen=True)
class UserRights:
    """What the user of a connection may not do.

    Attributes:
        lacking: right, or pattern of keys or channels -> the reason that the server gives.
        unknown: commands that the server does not know by their names.
    """

    lacking: Mapping[str, str]
    unknown: tuple[str, ...] = ()


def rights_at_instance(connection: BoundedConnection) -> UserRights:
    """Return what is refused to a connection's user; the connection is closed.

    Raises:
        redis.RedisError: the connection fails.
    """
    try:
        (begun,) = connection.call_all([("MULTI",)])
        if isinstance(begun, redis.RedisError):
            return refused_among([("+multi", ("MULTI",), begun)])
        told = _asked(connection, QUEUED)
        (discarded,) = connection.call_all([("DISCARD",)])
        told.append(("+discard", ("DISCARD",), discarded))
        if not isinstance(discarded, redis.RedisError):  # or EXEC would be about the queue
            told += _asked(connection, ALONE)
        return refused_among(told)
    finally:
        connection.close()


def rights_at_sentinel(connection: BoundedConnection) -> UserRights:
    """Return what is refused to a connection's user at a Sentinel.

    Raises:
        redis.RedisError: the connection fails.
    """
    return refused_among(_asked(connection, AT_SENTINEL))


def _asked(
    connection: BoundedConnection, commands: Mapping[str, Command]
) -> list[tuple[str, Command, object]]:
    """Return each right with its command and the reply."""
    replies = connection.call_all([*commands.values()])
    return list(zip(commands, commands.values(), replies, strict=True))


def refused_among(told: Iterable[tuple[str, Command, object]]) -> UserRights:
    """Return what is refused, of rights with their commands and the replies to these."""
    lacking: dict[str, str] = {}
    unknown: list[str] = []
    for right, command, reply in told:
        if isinstance(reply, redis.exceptions.NoPermissionError):
            of_pattern = _PATTERN.search(str(reply))
            lacking[_ALL[of_pattern[1]] if of_pattern else right] = str(reply)
        elif isinstance(reply, redis.ResponseError) and _UNKNOWN.match(str(reply)):
            unknown += [command[0]] if command[0] not in unknown else []
    return UserRights(lacking, tuple(unknown))
