"""The sweep of one instance: removing the keys that its shard no longer owns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import redis

from cachemesh.core.fencing import MARKER
from cachemesh.core.placement import Placement
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.key_scan import databases_of, require_master, scanned
from metaserver.redis_io.reply_parsers import NotRedisError
from metaserver.redis_io.resp import ReplyTooLargeError

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
        require_master(self.connection)
        passed = 0
        for database in databases_of(self.connection):
            for count in self._pass(database, batch):
                passed += count
                self.removed(count)
        require_master(self.connection)
        return passed

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
            cursor, keys = scanned(replies[-1])
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


def _unlinked(reply: object, keys: Sequence[bytes]) -> int:
    if not isinstance(reply, int) or not 0 <= reply <= len(keys):
        raise NotRedisError("the reply to UNLINK is no number of keys")
    return reply
