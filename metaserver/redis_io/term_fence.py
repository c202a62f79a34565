"""Connections of one term of the leading process: those of earlier terms are shut out.

    a connection opens: CLIENT SETNAME cachemesh-term:EPOCH --> does the term last? --> commands
    a later term:       CLIENT LIST --> CLIENT KILL of every connection of an earlier term

A process may be paused between any two of its steps, and go on when another one leads. What it
sends late goes to a connection that is killed. When it opens another, either it has its name before
the later term looks, and is killed; or it asks afterwards whether its own term still lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import redis

from metaserver.redis_io.bounded_connection import Ask, BoundedConnection
from metaserver.redis_io.client_list import TERM, Connected, connections, kill


@dataclass(frozen=True)
class TermFence:
    """The fence of a term.

    Attributes:
        epoch: the number of the term.
        lasts: asks the store whether the term still lasts, and raises if it does not.
    """

    epoch: int
    lasts: Callable[[], None]

    def enter(self, ask: Ask) -> None:
        """Mark a connection that has just been opened; raise if the term is over.

        Raises:
            redis.RedisError: the server refused.
        """
        (reply,) = ask([("CLIENT", "SETNAME", f"{TERM}{self.epoch}")])
        if isinstance(reply, redis.RedisError):
            raise reply
        self.lasts()

    def shut_out(self, connection: BoundedConnection) -> int:
        """Kill every connection of an earlier term, and return how many there were.

        Raises:
            redis.RedisError: some may be left.
        """
        return self.end_earlier(connection, connections(connection))

    def end_earlier(self, connection: BoundedConnection, listed: Iterable[Connected]) -> int:
        """As `shut_out`, of the connections that an instance has just listed."""
        earlier = [each.id for each in listed if each.epoch is not None and each.epoch < self.epoch]
        kill(connection, earlier)
        return len(earlier)
