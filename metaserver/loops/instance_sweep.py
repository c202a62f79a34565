"""The sweep of one instance: removing the keys that its shard no longer owns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import redis

from cachemesh.core.fencing import MARKER
from cachemesh.core.placement import Placement
from metaserver.domain.info_fields import databases_in
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.reply_parsers import NotRedisError, parse_fields, parse_role
from metaserver.redis_io.resp import ReplyTooLargeError
from metaserver.redis_io.shard_masters import NotShardMasterError

_MARKER = MARKER.encode()  # of a fence, which ends when the last client has acknowledged
BATCH = 1000  # keys that SCAN is asked for at once; fewer where they are too long for one reply


@dataclass(frozen=True)
class InstanceSweep:
    """The sweep of one master, through all its keys.

    Attributes:
        placement: returns the pool's current placement; called before each batch.
        removed: called with the number of keys that a batch removed.

    Either callable may raise to cancel the sweep.
    """

    connection: BoundedConnection
    shard: str
    placement: Callable[[], Placement]
    removed: Callable[[int], None]

    def run(self) -> None:
        """Pass over all keys until a whole pass removes none.

        Raises:
            NotShardMasterError: the instance is a replica.
            redis.RedisError: the instance failed. The sweep can be started again.
        """
        batch = BATCH
        while True:
            try:
                if self._pass_over_all(batch) == 0:
                    return
            except ReplyTooLargeError:
                if batch == 1:
                    raise
                batch = max(1, batch // 10)

    def _pass_over_all(self, batch: int) -> int:
        """Pass over all keys once, and return how many were removed."""
        self._require_master()
        passed = 0
        for database in self._databases():
            for count in self._pass(database, batch):
                passed += count
                self.removed(count)
        self._require_master()
        return passed

    def _require_master(self) -> None:
        role = parse_role(self.connection.call("ROLE"))
        if role.role != "master":
            raise NotShardMasterError(f"{self.connection.address} is a replica of {role.master}")

    def _databases(self) -> list[int]:
        self.connection.call("SELECT", 0)
        return sorted(databases_in(parse_fields(self.connection.call("INFO", "keyspace"))))

    def _pass(self, database: int, batch: int) -> Iterator[int]:
        """Yield the number of keys that each batch removed; UNLINK is sent with the next SCAN."""
        cursor, foreign = b"0", list[bytes]()
        while True:
            commands: list[Sequence[str | bytes | int]] = [("SELECT", database)]
            if foreign:
                commands.append(("UNLINK", *foreign))
            commands.append(("SCAN", cursor, "COUNT", batch))
            replies = self.connection.call_all(commands)
            for reply in replies:
                if isinstance(reply, redis.RedisError):
                    raise reply
            yield _unlinked(replies[1], foreign) if foreign else 0
            cursor, keys = _scanned(replies[-1])
            foreign = self._foreign(keys)
            if cursor == b"0":
                break
        if foreign:
            yield _unlinked(self.connection.call("UNLINK", *foreign), foreign)

    def _foreign(self, keys: Sequence[bytes]) -> list[bytes]:
        placement = self.placement()
        everything = self.shard not in placement.names
        return [
            key
            for key in keys
            if (everything or placement.owner(key) != self.shard) and key != _MARKER
        ]


def _scanned(reply: object) -> tuple[bytes, list[bytes]]:
    if not isinstance(reply, list) or len(reply) != 2 or not isinstance(reply[1], list):
        raise NotRedisError("the reply to SCAN is not a cursor and a list")
    cursor, keys = reply
    if not isinstance(cursor, bytes) or not cursor.isdigit() or len(cursor) > 20:
        raise NotRedisError("SCAN gives no cursor")
    if not all(isinstance(key, bytes) for key in keys):
        raise NotRedisError("SCAN gives something else than keys")
    return cursor, keys


def _unlinked(reply: object, keys: Sequence[bytes]) -> int:
    if not isinstance(reply, int) or not 0 <= reply <= len(keys):
        raise NotRedisError("the reply to UNLINK is no number of keys")
    return reply
