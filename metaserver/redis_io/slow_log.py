"""SLOWLOG of instances: the commands that took longest of late, in Redis's own words.

Source: https://redis.io/docs/latest/commands/slowlog-get/
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import redis

from metaserver.process.clock import rfc3339
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import BoundedConnection, ask_all, reason_of
from metaserver.redis_io.reply_parsers import NotRedisError, text, word
from metaserver.redis_io.resp import LARGE

MOST = 128  # entries of an instance, as many as Redis keeps unless told otherwise
_ARGUMENT = 200  # characters; Redis cuts an argument after 128 bytes
_ARGUMENTS = 32  # Redis keeps no more
_LATEST = 253_402_300_799  # seconds: the end of the year 9999


@dataclass(frozen=True)
class SlowCommand:
    """A command that took long.

    Attributes:
        id: its number, in the instance's own count.
        at: when it ran, RFC 3339 in UTC.
        seconds: how long it ran, without the time in which it waited for its turn.
        command: the command with its arguments, each cut as Redis cuts it.
        client: the address of who sent it.
        client_name: its CLIENT SETNAME; may be empty.
    """

    id: int
    at: str
    seconds: float
    command: list[str]
    client: str
    client_name: str

    def to_dict(self) -> dict[str, Any]:
        """Return the command as docs/api.md shows it."""
        return asdict(self)


def ask_slow_logs(
    addresses: Collection[str], limit: int, config: Config, networks: AllowedNetworks
) -> dict[str, list[SlowCommand] | str]:
    """Ask instances for their slowest commands of late, all at once.

    Args:
        limit: entries of each, `MOST` at most.

    Returns:
        address -> its commands, latest first, or why it did not tell.
    """
    connections = {
        address: BoundedConnection(
            address, networks, config.redis_auth, config.instance_timeout, LARGE
        )
        for address in addresses
    }

    def ask(connection: BoundedConnection) -> list[SlowCommand]:
        return parse_slow_log(connection.call("SLOWLOG", "GET", limit))

    try:
        answers = ask_all(connections, ask, within=config.instance_timeout)
    finally:
        for connection in connections.values():
            connection.close()
    return {
        address: reason_of(answer) if isinstance(answer, redis.RedisError) else answer
        for address, answer in answers.items()
    }


def parse_slow_log(reply: object) -> list[SlowCommand]:
    """Return a reply to SLOWLOG GET as values, their texts printable.

    Raises:
        NotRedisError: the reply has another form.
    """
    if not isinstance(reply, list):
        raise NotRedisError("the reply to SLOWLOG GET is no list")
    return [_entry(each) for each in reply[:MOST]]


def _entry(entry: object) -> SlowCommand:
    if not isinstance(entry, list) or len(entry) < 6 or not isinstance(entry[3], list):
        raise NotRedisError("an entry of the slow log is not of six parts")
    number, at, microseconds, words, client, name = entry[:6]
    for whole in (number, at, microseconds):
        if not isinstance(whole, int) or whole < 0:
            raise NotRedisError("a number of the slow log is none")
    if at > _LATEST:
        raise NotRedisError("a time of the slow log is none")
    return SlowCommand(
        number,
        rfc3339(at),
        microseconds / 1e6,
        [text(each)[:_ARGUMENT] for each in words[:_ARGUMENTS]],
        word(client),
        text(name)[:_ARGUMENT],
    )
