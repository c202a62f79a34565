"""Looking at some keys of a shard: which of them would leave it, and how many bytes they take.

    INFO --> of each database: SCAN --> MEMORY USAGE of those that leave --> TYPE of the biggest

`metaserver.domain.key_sample` says why the first keys that SCAN gives are a fair sample. No command
blocks the shard for longer than a millisecond, and none changes anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import redis

from cachemesh.core.fencing import MARKER
from metaserver.domain.info_fields import keys_by_database, number
from metaserver.domain.key_sample import (
    NAMED,
    BigKey,
    DatabaseSample,
    ShardSample,
    biggest,
    shares,
)
from metaserver.domain.shard_memory import ShardMemory
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.key_scan import require_master, scanned
from metaserver.redis_io.reply_parsers import parse_fields, text, whole
from metaserver.redis_io.resp import ReplyTooLargeError

Leaving: TypeAlias = "Callable[[Sequence[bytes]], Iterator[tuple[bytes, str]]]"
"""Tells which of many keys leave a shard, and the shard that each goes to."""

WITHIN = 8.0  # seconds
_SCANNED = 500  # keys that SCAN is asked for at once
_MEASURED = 100  # keys whose sizes are asked for at once
_MARKER = MARKER.encode()  # of a fence, which is for this shard
_KIND = 64  # characters of the name of a type


@dataclass(frozen=True)
class Sampling:
    """What is looked at for a plan.

    Attributes:
        keys: of each shard, about; 0: all of them.
        big_key: bytes from which on a key is big.
        within: seconds for all keys of a shard, after which the sample is what was looked at.
    """

    keys: int = 10_000
    big_key: int = 1024 * 1024
    within: float = WITHIN


def memory_of(connection: BoundedConnection) -> ShardMemory:
    """Return how much memory a master uses, and how much it may use.

    Raises:
        redis.RedisError: it fails, or is no master.
    """
    require_master(connection)
    info = parse_fields(connection.call("INFO", "memory"))
    policy = info.get("maxmemory_policy", "noeviction")
    used, most = (max(0, number(info, name)) for name in ("used_memory", "maxmemory"))
    return ShardMemory(used, most, policy)


def sample_of(
    connection: BoundedConnection,
    shard: str,
    leaving: Leaving,
    sampling: Sampling,
    used: int,
) -> ShardSample:
    """Look at keys of a shard's master.

    Args:
        used: bytes that the shard takes by now.

    Raises:
        redis.RedisError: the shard failed, or refuses one of the commands.
    """
    told = keys_by_database(parse_fields(connection.call("INFO", "keyspace")))
    keys = {database: max(0, count) for database, count in told.items()}
    begun, left, total = time.monotonic(), shares(keys, sampling.keys), max(1, sum(keys.values()))
    looked_at = _KeysLookedAt(connection, shard, leaving, sampling.big_key)
    databases, before = dict[int, DatabaseSample](), 0
    for database, count in sorted(keys.items()):
        before += count
        end = begun + sampling.within * before / total
        databases[database] = looked_at.of_database(database, count, left[database], end)
    return ShardSample(databases, used, tuple(looked_at.named()))


@dataclass
class _KeysLookedAt:
    """A look at the keys of one shard; `big` are the biggest of them."""

    connection: BoundedConnection
    shard: str
    leaving: Leaving
    big_key: int
    big: list[BigKey] = field(default_factory=list)

    def of_database(self, database: int, keys: int, most: int, end: float) -> DatabaseSample:
        """Look at keys of a database: at so many of them, or all, if the time is not over before.

        A page of SCAN counts as a whole: where it ends has to do with nothing.
        """
        sample, cursor, asked_for = DatabaseSample(keys), b"0", max(1, min(_SCANNED, most))
        while True:
            scan = ("SCAN", cursor, "COUNT", asked_for)
            try:
                (reply,) = self._selected(database, [scan])
            except ReplyTooLargeError:
                if asked_for == 1:
                    raise
                asked_for = max(1, asked_for // 10)
                continue
            cursor, found = scanned(reply)
            sample.looked_at += len(found)
            self._measure(database, found, sample)
            sample.complete = cursor == b"0"
            enough = most < keys and sample.looked_at >= most
            if sample.complete or enough or time.monotonic() >= end:
                return sample

    def _measure(self, database: int, found: Sequence[bytes], sample: DatabaseSample) -> None:
        """Ask for the sizes of the keys that leave; one that is gone by now does not count."""
        moving = [each for each in self.leaving(found) if each[0] != _MARKER]
        for at in range(0, len(moving), _MEASURED):
            some = moving[at : at + _MEASURED]
            sizes = self._selected(database, [("MEMORY", "USAGE", key) for key, _ in some])
            for (key, target), size in zip(some, sizes, strict=True):
                if size is not None:
                    taken = max(0, whole(size))
                    sample.add(target, taken)
                    self._note_big(BigKey(taken, key, database, self.shard, target))

    def _note_big(self, key: BigKey) -> None:
        if key.size >= self.big_key:
            self.big.append(key)
            if len(self.big) > 4 * NAMED:
                self.big = biggest(self.big)

    def named(self) -> list[BigKey]:
        """Return the biggest keys, with their types."""
        return [
            replace(key, kind=text(kind)[:_KIND])
            for key in biggest(self.big)
            for kind in self._selected(key.database, [("TYPE", key.name)])
        ]

    def _selected(self, database: int, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Return the replies to commands on a database; raise the first error among them."""
        _, *replies = found = self.connection.call_all([("SELECT", database), *commands])
        for reply in found:
            if isinstance(reply, redis.RedisError):
                raise reply
        return replies
