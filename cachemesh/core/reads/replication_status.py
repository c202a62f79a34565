"""What an instance says of its part in replication, from INFO or ROLE. No I/O.

Sources: redis.io/docs/latest/commands/info (section replication) and .../commands/role.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cachemesh.core.commands.command_info import text
from cachemesh.core.names import Address

INFO: tuple[str, ...] = ("INFO", "replication")
ROLE: tuple[str, ...] = ("ROLE",)
QUESTIONS = (INFO, ROLE)
"""What tells it, the better one first: ROLE does not tell the history. ACLs may deny either."""


@dataclass(frozen=True)
class Standing:
    """An instance at one moment.

    Attributes:
        is_master: by its own word.
        history: names the stream of writes that it makes or follows.
        offset: so many bytes of it the instance has made or applied; -1 if that is not certain.
    """

    is_master: bool
    history: str
    offset: int


def standing(address: Address, reply: Any) -> Standing | None:
    """From the reply to either question; None if it is of neither form.

    Args:
        address: of the instance that was asked.
        reply: decoded or not.
    """
    try:
        return _from_role(address, reply) if isinstance(reply, list) else _from_info(text(reply))
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _from_info(reply: str) -> Standing:
    told = dict(line.split(":", 1) for line in reply.splitlines() if ":" in line)
    history = told["master_replid"]
    if told["role"] == "master":
        return Standing(True, history, int(told["master_repl_offset"]))
    if told["master_sync_in_progress"] != "0":  # what it has is being replaced
        return Standing(False, history, -1)
    return Standing(False, history, int(told["slave_repl_offset"]))


def _from_role(address: Address, reply: list[Any]) -> Standing:
    """The master's address stands for the history; it has to be written as the replica has it."""
    if text(reply[0]) == "master":
        return Standing(True, str(address), int(reply[1]))
    if text(reply[0]) != "slave":
        raise ValueError(reply[0])
    connected = text(reply[3]) == "connected"
    history = str(Address(text(reply[1]), int(reply[2])))
    return Standing(False, history, int(reply[4]) if connected else -1)
