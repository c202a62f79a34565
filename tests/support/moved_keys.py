"""Keys that move, phase by phase, between the shards of a stack, under a client of either kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis

from cachemesh.core.migration.phase import Migration
from cachemesh.core.placement import Placement
from cachemesh.local import LocalStack, Process
from tests.support.both_clients import Caller, calling
from tests.support.plain_redis import direct
from tests.support.resizable_pool import ResizablePool
from tests.support.sentinels import keep_masters
from tests.support.waiting import AT_MOST, until

KEYS = [f"key:{number}" for number in range(60)]
VALUES = {key: f"value of {key}".encode() for key in KEYS}
LONG = {"socket_timeout": AT_MOST}


@contextmanager
def three_shards() -> Iterator[LocalStack]:
    """Start three shards with a replica each."""
    with LocalStack(shards=3, replicas=1, sentinels=1, metaservers=0, dashboard=False) as stack:
        keep_masters(stack)  # also where a busy machine lets them wait
        yield stack


def emptied(stack: LocalStack) -> list[Process]:
    """Return the masters, once they are empty."""
    masters = [stack.process(shard["master"]) for shard in stack.info["shards"]]
    for master in masters:
        with direct(master) as shard:
            shard.flushall()
    return masters


class Moved:
    """A pool that is written phase by phase, and a client of it.

    Args:
        call: the client.
        before, after: P and Q.
        stages: how many there are.
    """

    def __init__(
        self,
        pool: ResizablePool,
        call: Caller,
        before: Placement,
        after: Placement,
        stages: int = 1,
    ) -> None:
        self.pool, self.call = pool, call
        self.before, self.after = before, after
        self.migration = Migration(
            "prepare", after, moves=True, stages=stages, replicas=dict.fromkeys(pool.masters, 1)
        )
        self.keys = [key for key in KEYS if before.shard_for(key) != after.shard_for(key)]
        assert self.keys

    def prepare(self, **changes: Any) -> None:
        """Have the client hold commands on keys that move."""
        self.migration = replace(self.migration, phase="prepare", **changes)
        self._write(self.migration)
        until(self.call.mesh._core.drained)

    def move(self, **changes: Any) -> None:
        """Have keys move."""
        self.migration = replace(self.migration, phase="move", **changes)
        self._write(self.migration)

    def begin(self) -> None:
        """Prepare the first stage, and have its keys move."""
        self.prepare()
        self.move()

    def finish(self, placement: Placement | None = None) -> None:
        """End the migration, in Q or in another placement."""
        version = self.pool.write(placement or self.after)
        self._await(version)

    def at(self, placement: Placement, key: str) -> Any:
        """Return a key's value on the shard that owns it in a placement."""
        with self.server(placement, key) as shard:
            return shard.get(key)

    def server(self, placement: Placement, key: str) -> AbstractContextManager[redis.Redis]:
        """Return a client of the master that owns a key in a placement."""
        host, port = self.pool.masters[placement.shard_for(key)]
        return direct(f"{host}:{port}")

    def keys_retired(self) -> bool:
        """Return whether the shards that keys move between are retired."""
        return bool(self.call.mesh._core._retired) and all(
            shard.retired for shard in self.call.mesh._core._retired
        )

    def _write(self, migration: Migration) -> None:
        self._await(self.pool.write(self.before, migration))

    def _await(self, version: int) -> None:
        core = self.call.mesh._core
        core.membership.fetch(version)  # else the file is looked at once a second
        until(lambda: core.acts_on(version))


@contextmanager
def filled(kind: str, stack: LocalStack, directory: Path, **options: Any) -> Iterator[Moved]:
    """Fill the shards by a client of a kind; nothing moves yet."""
    masters = emptied(stack)
    with (
        ResizablePool(masters, directory) as pool,
        calling(kind, pool.url, **(options or LONG)) as call,
    ):
        call.warm(lambda mesh: mesh.mset(VALUES))
        yield Moved(pool, call, pool.small, pool.large)
