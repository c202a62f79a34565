"""Removing what a source has of keys that have moved from it, before they move back.

A source that was started again from a file has them once more, older than at their targets, and
wins when they move back. While keys still move forward a copy at the target is the newer one:

    SCAN of the source --> keys that the target has, and its replicas too --> UNLINK at the source

Once keys have moved back, what the source has is the newer copy: nothing may be removed then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from cachemesh.core.migration.pull import Pull
from metaserver.domain.batch_size import LARGEST, BatchSize
from metaserver.domain.move_pace import KeysPerSecond, Rests
from metaserver.domain.move_progress import SourceCount
from metaserver.loops.key_mover import Leaving, SourceMove
from metaserver.loops.move_targets import Targets
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.fence import replicas_of_master
from metaserver.redis_io.replica_wait import needed_by


@dataclass
class StaleCopies(SourceMove):
    """As a `SourceMove`, of the keys alone that are at their targets.

    Nobody else counts replicas meanwhile, and a failover may have used up the last one: so the
    shards are asked whether they have any by now.

    Args:
        all_moved: the source was done: every key that has left it is stale there, also one that
            the target has not any more.
        lost: targets whose data is lost. Nothing tells which keys have moved to one of them, so all
            stay where they are, unless the source was done.
    """

    all_moved: bool = False
    lost: Collection[str] = ()

    @classmethod
    def at(
        cls,
        connection: BoundedConnection,
        shard: str,
        leaving: Leaving,
        targets: Targets,
        cancelled: Callable[[], bool],
        *,
        all_moved: bool,
        lost: Collection[str] = (),
    ) -> StaleCopies:
        """Return those of one shard."""
        no_bounds = KeysPerSecond(0), Rests(0.0), BatchSize(LARGEST)
        common = connection, SourceCount(shard), leaving, targets, cancelled
        return cls(*common, *no_bounds, all_moved=all_moved, lost=lost)

    def _move_batch(self, target: str, database: int, waiting: list[bytes]) -> None:
        batch, waiting[:LARGEST] = tuple(dict.fromkeys(waiting[:LARGEST])), []
        if target in self.lost and not self.all_moved:
            return
        link = self.targets.link(self.count.shard, target, database)
        stale = batch if self.all_moved else self._at_target(target, database, Pull(link, batch))
        if stale:
            self._finish(Pull(link, stale, "remove", stale), target, database)

    def _needed(self) -> int:
        return needed_by(self.connection)

    def _at_target(self, target: str, database: int, pull: Pull) -> tuple[bytes, ...]:
        """Return those of the keys that the target has, once a replica has them, if it has one."""
        self._check()
        (role,) = self._asked_target(target, database, [("ROLE",)])
        needed = min(1, replicas_of_master(self.targets.connection(target), role))
        link = replace(pull.link, target_replicas=needed)
        looked = replace(pull, link=link, step="confirm each")
        asked = looked.ask()
        after = looked.answered(self._asked_target(target, database, asked.commands))
        return after.found if isinstance(after, Pull) else ()
