"""The move of one source: all keys that leave it in a stage go to the shards that gain them.

    SCAN --> keys that move, by target --> batches --> a pull of each (`cachemesh.core.migration`)

While a batch is copied its source serves nobody else: `metaserver.domain.batch_size` keeps that
short.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import redis

from cachemesh.core.fencing import MARKER
from cachemesh.core.migration.pull import (
    IDLE_MS,
    Cut,
    Link,
    NotReplicatedError,
    Pull,
    PullError,
    SlowTransferError,
)
from metaserver.domain.batch_size import BatchSize
from metaserver.domain.move_pace import KeysPerSecond, Rests
from metaserver.domain.move_progress import SourceCount
from metaserver.loops.move_targets import MoveFailedError, Targets, UnreplicatedError
from metaserver.redis_io.bounded_connection import BoundedConnection, reason_of
from metaserver.redis_io.key_scan import databases_of, replication_id_of, scanned
from metaserver.redis_io.replica_wait import acknowledging, wait_ms
from metaserver.redis_io.reply_parsers import NotRedisError
from metaserver.redis_io.resp import ReplyTooLargeError

SCANNED = 1000  # keys that SCAN is asked for at once, in about 1 ms; fewer where they are too long
COPIED_WITHIN = 10.0  # seconds that the target may take to build one large key
_BUILT = 10_000  # bytes of a key that the target builds in a millisecond, at least
_STEP = 0.05  # seconds that a slowed move waits at once
_MARKER = MARKER.encode()  # of a fence, which is for this shard


Leaving: TypeAlias = "Callable[[Sequence[bytes]], Iterator[tuple[bytes, str]]]"
"""Tells which of many keys leave a source, and where each goes."""


class MoveCancelled(redis.RedisError):
    """The resize goes on otherwise, or another process leads."""


@dataclass
class SourceMove:
    """The move of all keys that leave one source.

    Args:
        connection: to its master.
        count: of its keys, for operators.
        leaving: tells which of many keys leave it, and where each goes.
        cancelled: asked before each request, but for those that cut off what may arrive late.
        pace: of all sources together.
        rests: of this source.
        late: targets to which a copy of an earlier move may be under way yet, as that one was
            broken off.
    """

    connection: BoundedConnection
    count: SourceCount
    leaving: Leaving
    targets: Targets
    cancelled: Callable[[], bool]
    pace: KeysPerSecond
    rests: Rests
    _batch: BatchSize = field(default_factory=BatchSize)
    late: Collection[str] = ()

    def run(self) -> str:
        """Move all keys that leave; return the replication id of the source all the while.

        SCAN gives every key that is there from its beginning to its end, and nobody adds any of
        these keys to the source. A source that became a replica and a master again may have got
        other keys meanwhile: it is gone through once more.

        Raises:
            MoveCancelled: as soon as `cancelled` says so.
            redis.RedisError: a shard failed. The move can be begun again.
        """
        asked_for, gone_through = SCANNED, None
        while (mastership := replication_id_of(self.connection)) != gone_through:
            self._cut_off()
            try:
                self._go_through(asked_for)
                self._await_replicas()
                gone_through = mastership
            except ReplyTooLargeError:
                if asked_for == 1:
                    raise
                asked_for = max(1, asked_for // 10)
        return mastership

    def _cut_off(self) -> None:
        """Cut off what may be under way, also where no key is left: apps may have deleted it.

        By then the source has answered, so it is copying nothing of an earlier move any more.
        """
        for target in self.late:
            self._finish(Cut(), target, 0)
        self.late = ()

    def _go_through(self, asked_for: int) -> None:
        databases = databases_of(self.connection)
        self.count.begin_pass(sum(databases.values()))
        for database in databases:
            waiting: dict[str, list[bytes]] = {}  # by target
            for keys in self._scan(database, asked_for):
                self._sort(keys, waiting)
                for target, some in waiting.items():
                    while len(some) >= self._batch.size:
                        self._move(target, database, some)
            for target, some in waiting.items():
                while some:
                    self._move(target, database, some)

    def _await_replicas(self) -> None:
        """Wait for the source's replicas: a master that has none any more may be a former one."""
        needed = self._needed()
        if not needed:
            return
        count = acknowledging(self.connection, needed, wait_ms(self.targets.config))
        if count < needed:
            error = NotReplicatedError("source", count, needed)
            raise UnreplicatedError(str(error), self.count.shard)

    def _needed(self) -> int:
        """Return how many of the source's replicas have to acknowledge."""
        return self.targets.replicas.get(self.count.shard, 0)

    def _scan(self, database: int, asked_for: int) -> Iterator[list[bytes]]:
        cursor = b"0"
        while True:
            self._check()
            (reply,) = self._selected(
                self.connection, database, [("SCAN", cursor, "COUNT", asked_for)]
            )
            if isinstance(reply, redis.RedisError):
                raise reply
            cursor, keys = scanned(reply)
            yield keys
            if cursor == b"0":
                return

    def _sort(self, keys: list[bytes], waiting: dict[str, list[bytes]]) -> None:
        """Add the keys that leave this source to those that wait, by target."""
        leave = [(key, target) for key, target in self.leaving(keys) if key != _MARKER]
        for key, target in leave:
            waiting.setdefault(target, []).append(key)
        self.count.scanned(len(keys), len(leave))

    def _move(self, target: str, database: int, waiting: list[bytes]) -> None:
        """Move a batch of the keys that wait, and take them off."""
        try:
            self._move_batch(target, database, waiting)
        except NotReplicatedError as error:
            shard = self.count.shard if error.side == "source" else target
            raise UnreplicatedError(f"to shard {target}: {error}", shard) from error
        except PullError as error:
            raise MoveFailedError(f"to shard {target}: {error}") from error

    def _move_batch(self, target: str, database: int, waiting: list[bytes]) -> None:
        size = self._paced(target)
        batch, waiting[:size] = tuple(dict.fromkeys(waiting[:size])), []
        link = self.targets.link(self.count.shard, target, database)
        try:
            pull = self._copied(Pull(link, batch), target, database)
            self._finish(pull, target, database)
        except SlowTransferError:  # one of the keys may be large
            self._check()
            self._asked_target(target, database, [("PING",)])
            for key, patient in zip(batch, self._patient(link, database, batch), strict=True):
                self._finish(Pull(patient, (key,)), target, database)
        self.count.moved += len(batch)

    def _patient(self, link: Link, database: int, keys: Sequence[bytes]) -> list[Link]:
        """Return a link for each key, with the time that the target may need to build it.

        The source serves nobody for as long where the target is silent, and not at work.
        """
        asked = [("MEMORY", "USAGE", key) for key in keys]
        sizes = self._selected(self.connection, database, asked)
        return [replace(link, idle_ms=built_within(size)) for size in sizes]

    def _copied(self, pull: Pull, target: str, database: int) -> Pull | Cut | None:
        """Return a pull after its first request, and learn how large a batch may be."""
        (copy,) = pull.ask().commands
        timed = [("MEMORY", "USAGE", pull.keys[0]), ("TIME",), copy, ("TIME",)]
        with self.targets.turns.of(target):
            self._check()
            began = time.monotonic()
            size, before, copied, after = self._selected(self.connection, database, timed)
            took = time.monotonic() - began
        if isinstance(size, int):  # the right to ask is not needed
            self.count.sized(size)
        self._batch.took(_seconds(after) - _seconds(before), len(pull.keys))
        return pull.answered([copied], took)

    def _finish(self, pull: Pull | Cut | None, target: str, database: int) -> None:
        """Go on with a pull until it has ended."""
        while pull is not None:
            asked = pull.ask()
            with self.targets.turns.of(target) if pull.copies else nullcontext():
                if not isinstance(pull, Cut):  # what is late is cut off also by who gives up
                    self._check()
                began = time.monotonic()
                if asked.side == "target":
                    replies = self._asked_target(target, database, asked.commands)
                else:
                    replies = self._selected(self.connection, database, asked.commands)
                took = time.monotonic() - began
            pull = pull.answered(replies, took)

    def _asked_target(
        self, target: str, database: int, commands: Sequence[Sequence[Any]]
    ) -> list[Any]:
        """Return the target's replies; raise MoveFailedError, which names it, if it fails."""
        connection = self.targets.connection(target)
        try:
            return self._selected(connection, database, commands)
        except redis.RedisError as error:
            why = f"shard {target} at {connection.address}: {reason_of(error)}"
            raise MoveFailedError(why) from error

    def _paced(self, target: str) -> int:
        """Return how many keys to move now, once it is time for them."""
        size = self._batch.size
        if self.pace.most:
            size = min(size, max(1, int(self.pace.most * _STEP)))
        self.rests.shards.update((self.count.shard, target))
        left = self.pace.delay(time.monotonic(), size) + self.rests.seconds
        until = time.monotonic() + left
        while (left := until - time.monotonic()) > 0:
            self._check()
            time.sleep(min(left, _STEP))
        return size

    def _selected(
        self, connection: BoundedConnection, database: int, commands: Sequence[Sequence[Any]]
    ) -> list[Any]:
        """Return the replies to commands on a database."""
        selected, *replies = connection.call_all([("SELECT", database), *commands])
        if isinstance(selected, redis.RedisError):
            raise selected
        return replies

    def _check(self) -> None:
        if self.cancelled():
            raise MoveCancelled("the resize goes on otherwise")


def built_within(size: object) -> int:
    """Return the milliseconds that a target may take to build a key.

    Args:
        size: the reply to MEMORY USAGE; None where there is no such key, an error without the
            right to ask.
    """
    longest = int(1000 * COPIED_WITHIN)
    if size is None:
        return IDLE_MS
    if not isinstance(size, int):
        return longest
    return min(longest, IDLE_MS + max(0, size) // _BUILT)


def _seconds(reply: object) -> float:
    """Return the reply to TIME in seconds.

    Raises:
        redis.RedisError: it is none.
    """
    if isinstance(reply, redis.RedisError):
        raise reply
    if not isinstance(reply, list) or len(reply) != 2 or not all(_is_number(n) for n in reply):
        raise NotRedisError("the reply to TIME is not two numbers")
    return int(reply[0]) + int(reply[1]) / 1e6


def _is_number(word: object) -> bool:
    return isinstance(word, bytes) and word.isdigit() and len(word) < 20
