"""Work on shards that explains what is seen of them for a while: planned failovers, additions.

begun in the store --> goes on as planned --> over once the shard is seen up --> gone
                           '-- its process died, or `within` is over --> explains nothing any more

When work began is in the store, so that a restarted or second process knows too; how long it has
taken since is counted by this process's monotonic clock, which nobody sets.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from metaserver.domain.shard_state import Known
from metaserver.loops.leader_election import process_is_alive
from metaserver.process.clock import Ages
from metaserver.store import Failover, PoolState
from metaserver.store.observed import Work


class KnownWork:
    """What of the work in the store goes as planned, as this process sees it.

    `clock` gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ages: dict[str, Ages] = {}  # pool -> of work, by id

    def of(self, state: PoolState) -> dict[str, Known]:
        """The work of a pool that goes as planned, by shard name."""
        ages = self._ages.setdefault(state.document.pool, Ages(self._clock))
        ages.keep({work.id for work in state.work.values()})
        known = {}
        for shard, work in state.work.items():
            failover = state.failovers.get(shard)
            if ages.of(work.id, _age(work)) < work.within and _carried_on(failover):
                known[shard] = Known(work.kind, busy=failover is not None)
        return known

    def forget(self, pool: str) -> None:
        """Let go of a pool that is no more."""
        self._ages.pop(pool, None)


def _age(work: Work) -> float:
    """For how long it has gone on by the clock on the wall, which may be wrong."""
    return min(max(0.0, time.time() - work.began), work.within)


def _carried_on(failover: Failover | None) -> bool:
    """Whether no failover is left to repair: its process lives, or it is over."""
    return failover is None or process_is_alive(failover.owner)
