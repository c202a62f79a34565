"""Which work on shards (additions, planned failovers) goes as planned.

    stored when the work begins --> as planned --> deleted once the shard is up
                                         '-- its process died, or it takes too long: not planned

The store has the time at which work began, so that a restarted or second process knows of it. The
time since then is counted by this process's monotonic clock, which is never set.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from metaserver.domain.pool_state import Failover, PoolState, ShardWork
from metaserver.domain.shard_state import PlannedWork
from metaserver.process.clock import ElapsedTimes
from metaserver.process.identity import process_is_alive


class PlannedWorkTracker:
    """Tells, for each pool, which of its work goes as planned.

    Args:
        clock: returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._elapsed: dict[str, ElapsedTimes] = {}  # pool -> of its work, by id

    def of_pool(self, state: PoolState, live: Collection[str] = ()) -> dict[str, PlannedWork]:
        """Return the work of a pool that goes as planned, by shard name.

        Args:
            live: the identities of live processes, as in `process_is_alive`.
        """
        elapsed = self._elapsed.setdefault(state.document.pool, ElapsedTimes(self._clock))
        elapsed.keep({work.id for work in state.work.values()})
        planned = {}
        for shard, work in state.work.items():
            failover = state.failovers.get(shard)
            seconds = elapsed.since_first(work.id, _age(work))
            if seconds < work.within and _is_attended(failover, live):
                planned[shard] = PlannedWork(work.kind, busy=failover is not None)
        return planned

    def forget(self, pool: str) -> None:
        """Forget a deleted pool."""
        self._elapsed.pop(pool, None)


def _age(work: ShardWork) -> float:
    """Return the seconds since the work began by the time of day, which may be wrong."""
    return min(max(0.0, time.time() - work.began), work.within)


def _is_attended(failover: Failover | None, live: Collection[str]) -> bool:
    """Return whether no failover is left to repair: its process lives, or it is over."""
    return failover is None or process_is_alive(failover.owner, live)
