"""Parsing what an instance says of its part in replication: the replies to INFO and ROLE. No I/O.

Sources: redis.io/docs/latest/commands/info (section replication) and .../commands/role.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cachemesh.core.commands.command_info import as_text
from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.names import Address, parse_address

INFO: tuple[str, ...] = ("INFO", "replication")
ROLE: tuple[str, ...] = ("ROLE",)
QUESTIONS = (INFO, ROLE)
"""The commands that tell a replication status, the better one first: ROLE has no replication id.
ACLs may deny either."""

_LONGEST_WORD = 256  # characters; the longest is a host name of 253
_INTEGER = re.compile(r"-?[0-9]{1,19}")


@dataclass(frozen=True)
class ReplicationStatus:
    """The replication status of one instance at one moment.

    Attributes:
        is_master: whether the instance says that it is a master.
        history: names the stream of writes that the instance makes or follows.
        offset: bytes of that stream that the instance has made or applied; -1 if unknown.
    """

    is_master: bool
    history: str
    offset: int


@dataclass(frozen=True)
class RoleReply:
    """A reply to ROLE.

    Attributes:
        role: "master", "replica" or "sentinel".
        offset: bytes of the replication stream that the instance has made or applied; -1 for a
            replica that has none yet, 0 for a Sentinel.
        master: the master that a replica follows, else None.
        link_state: the state of a replica's connection to its master, "connected" if all is well;
            "" for others.
        replicas: the replicas attached to a master, each with the offset that it acknowledged.
            What only copies a master, as `redis-cli --replica` does, has port 0.
    """

    role: str
    offset: int = 0
    master: Address | None = None
    link_state: str = ""
    replicas: tuple[tuple[Address, int], ...] = ()


def replication_status(address: Address, reply: Any) -> ReplicationStatus | None:
    """Parse the reply to INFO replication or to ROLE; return None if the reply is neither.

    Args:
        address: of the instance that was asked.
        reply: decoded or not.
    """
    try:
        return _from_role(address, reply) if isinstance(reply, list) else _from_info(as_text(reply))
    except (KeyError, ValueError):
        return None


def parse_role(reply: Any) -> RoleReply:
    """Parse a reply to ROLE, decoded or not.

    Raises:
        ValueError: neither Redis nor Sentinel gives such a reply.
    """
    role = role_of(reply)
    if role == "sentinel":
        return RoleReply(role)
    if role == "master" and len(reply) >= 3 and isinstance(reply[2], list):
        return RoleReply(role, _integer(reply[1]), replicas=tuple(map(_replica, reply[2])))
    if role == "slave" and len(reply) >= 5:
        try:
            master = parse_address(str(Address(_word(reply[1]), _integer(reply[2]))))
        except InvalidDocumentError as error:
            raise ValueError(str(error)) from error
        return RoleReply("replica", _integer(reply[4]), master, _word(reply[3]))
    raise ValueError(f"the reply to ROLE, {role!r:.80}, has another form than Redis gives it")


def role_of(reply: Any) -> str:
    """Return the first word of a reply to ROLE: "master", "slave" or "sentinel".

    The rest of the reply is not looked at.

    Raises:
        ValueError: the reply is not a list that begins with a word.
    """
    if not isinstance(reply, list) or not reply:
        raise ValueError("the reply to ROLE is not a list")
    return _word(reply[0])


def info_fields(reply: bytes | str) -> Iterator[tuple[str, str]]:
    """Yield the fields of a reply to INFO, whichever sections it has, as (name, value)."""
    told = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    for line in told.splitlines():
        name, colon, value = line.partition(":")
        if colon and not name.startswith("#"):
            yield name, value


def _from_info(reply: str) -> ReplicationStatus:
    told = dict(info_fields(reply))
    history = told["master_replid"]
    if told["role"] == "master":
        return ReplicationStatus(True, history, int(told["master_repl_offset"]))
    if told["master_sync_in_progress"] != "0":  # the replica's data is being replaced
        return ReplicationStatus(False, history, -1)
    return ReplicationStatus(False, history, int(told["slave_repl_offset"]))


def _from_role(address: Address, reply: list[Any]) -> ReplicationStatus | None:
    """The master's address stands for the history, written as the replica writes it."""
    told = parse_role(reply)
    if told.role == "master":
        return ReplicationStatus(True, str(address), told.offset)
    if told.master is None:
        return None  # a Sentinel
    connected = told.link_state == "connected"
    return ReplicationStatus(False, str(told.master), told.offset if connected else -1)


def _replica(item: Any) -> tuple[Address, int]:
    if not isinstance(item, list) or len(item) != 3:
        raise ValueError("ROLE of a master lists something else than replicas")
    return Address(_word(item[0]), _integer(item[1])), _integer(item[2])


def _word(value: Any) -> str:
    if not isinstance(value, (bytes, str)) or len(value) > _LONGEST_WORD:
        raise ValueError("the reply to ROLE holds something else than a word")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _integer(value: Any) -> int:
    """An integer of 64 bits, which ROLE sends as a number or as text."""
    if not isinstance(value, int):
        digits = _word(value)
        if not _INTEGER.fullmatch(digits):
            raise ValueError(f"the reply to ROLE has {digits!r:.40} in place of a number")
        value = int(digits)
    if not -(2**63) <= value < 2**63:
        raise ValueError("the reply to ROLE has a number of more than 64 bits")
    return int(value)
