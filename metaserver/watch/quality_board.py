"""What the clients of this process feel of their pools, as their watch calls report it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from cachemesh.core.quality.report import ShardQuality
from metaserver.domain.quality import PoolQuality, QualitySum


class QualityBoard:
    """The quality of each pool; greenlets may share the board.

    Args:
        clock: returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pools: dict[str, PoolQuality] = {}

    def add(
        self, pool: str, client: str, report: Mapping[str, ShardQuality], shards: Collection[str]
    ) -> None:
        """Add a client's report.

        Args:
            pool: one that exists.
            client: its id.
            report: by shard.
            shards: those of the pool.
        """
        self._pools.setdefault(pool, PoolQuality()).add(self._clock(), client, report, shards)

    def shown(self, pool: str, seconds: int) -> dict[str, Any]:
        """Return what was felt of a pool in the last seconds, as docs/api.md shows it."""
        now = self._clock()
        found = self._pools.get(pool, PoolQuality())
        return {"pool": pool, **found.to_dict(now, time.time() - now, seconds)}

    def totals(self, pool: str, shards: Collection[str]) -> Mapping[str, QualitySum]:
        """Return what was felt of each shard of a pool since the process started."""
        found = self._pools.get(pool)
        if found is None:
            return {}
        found.forget(shards)
        return found.totals

    def forget_all_but(self, pools: Collection[str]) -> None:
        """Forget pools that are no more."""
        for pool in [each for each in self._pools if each not in pools]:
            del self._pools[pool]
