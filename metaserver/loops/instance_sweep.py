"""Removing from one instance the keys that it no longer owns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import redis

from cachemesh.core.placement import Placement
from metaserver.redis_io.connection import Link
from metaserver.redis_io.reply_parsers import NotRedisError, databases_in, parse_fields, parse_role
from metaserver.redis_io.resp import ReplyTooLargeError

BATCH = 1000  # keys that SCAN is asked for at once; fewer where they are too long for one reply


class NotMasterError(redis.ReadOnlyError):
    """The instance is not the shard's master, or no longer."""


@dataclass(frozen=True)
class Cleaner:
    """Goes through every key of one master.

    `placement` returns the pool's placement as it is now, and is asked again before each batch;
    `removed` is told how many keys went. Either may raise to call the work off.
    """

    link: Link
    shard: str
    placement: Callable[[], Placement]
    removed: Callable[[int], None]

    def run(self) -> None:
        """Pass over the keys until a whole pass removes nothing.

        Raises:
            redis.RedisError: the instance failed or is no master; nothing is lost, start again.
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
        """How many keys a whole pass removed."""
        self._require_master()
        passed = 0
        for database in self._databases():
            for count in self._pass(database, batch):
                passed += count
                self.removed(count)
        self._require_master()
        return passed

    def _require_master(self) -> None:
        role = parse_role(self.link.call("ROLE"))
        if role.role != "master":
            raise NotMasterError(f"{self.link.address} is a replica of {role.master}")

    def _databases(self) -> list[int]:
        self.link.call("SELECT", 0)
        return sorted(databases_in(parse_fields(self.link.call("INFO", "keyspace"))))

    def _pass(self, database: int, batch: int) -> Iterator[int]:
        """Yield the number of keys that each batch removed; UNLINK rides with the next SCAN."""
        cursor, foreign = b"0", list[bytes]()
        while True:
            commands: list[Sequence[str | bytes | int]] = [("SELECT", database)]
            if foreign:
                commands.append(("UNLINK", *foreign))
            commands.append(("SCAN", cursor, "COUNT", batch))
            replies = self.link.call_all(commands)
            for reply in replies:
                if isinstance(reply, redis.RedisError):
                    raise reply
            yield _unlinked(replies[1], foreign) if foreign else 0
            cursor, keys = _scanned(replies[-1])
            foreign = self._foreign(keys)
            if cursor == b"0":
                break
        if foreign:
            yield _unlinked(self.link.call("UNLINK", *foreign), foreign)

    def _foreign(self, keys: Sequence[bytes]) -> list[bytes]:
        placement = self.placement()
        if self.shard not in placement.names:
            return list(keys)
        return [key for key in keys if placement.owner(key) != self.shard]


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
