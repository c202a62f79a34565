"""The recorder of history: every five seconds a point of each pool and of each of its shards.

    what the monitor has observed, what apps have reported --> points --> the history file

No instance is asked for it. A file that cannot be written costs points, and nothing else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from metaserver.domain.history import (
    COARSE,
    FINE,
    HistoryPoint,
    ServerCounts,
    combined,
    counts_of,
    points_of,
)
from metaserver.domain.quality import SECONDS, QualitySum
from metaserver.domain.status import Observation
from metaserver.process.turns import let_others_run
from metaserver.store import StorageError, Store
from metaserver.store.history_file import HistoryFile, SeriesName

Observed: TypeAlias = "Callable[[str], tuple[dict[str, Any], Observation] | None]"
Felt: TypeAlias = Callable[[str, int, int], Mapping[str, QualitySum]]

_FORGET_EVERY = 3600  # seconds
_AT_ONCE = 50  # series

log = logging.getLogger("metaserver")


@dataclass
class _LastPoint:
    """What the last point of a pool was made from: an observation, and counters by shard."""

    seen: Observation | None = None
    counts: Mapping[str, ServerCounts] = field(default_factory=dict)
    felt_until: int = 0


class HistoryRecorder:
    """Writes the history while its process leads.

    Args:
        store: has the pools.
        observed: returns the last status of a pool and what it is made from.
        felt: returns what apps felt of a pool's shards between two whole seconds of `monotonic`.
        clock, monotonic: return seconds, since the epoch and of a clock that does not fall.
    """

    def __init__(
        self,
        store: Store,
        observed: Observed,
        felt: Felt,
        file: HistoryFile,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._observed = observed
        self._felt = felt
        self._file = file
        self._clock = clock
        self._monotonic = monotonic
        self._last: dict[str, _LastPoint] = {}
        self._at: int | None = None  # when the last point began
        self._forgot = 0

    def run(self, stop: threading.Event) -> None:
        """Record until `stop` is set."""
        failing = ""
        while not stop.wait(FINE.step - self._clock() % FINE.step):
            try:
                self.record()
                if failing:
                    log.info("the history is written again")
                failing = ""
            except StorageError as error:
                if str(error) != failing:
                    log.error("no history is written: %s", error)
                failing = str(error)

    def record(self) -> None:
        """Write a point of the step that has just ended, unless it is written.

        Raises:
            StorageError: the file or the store cannot be used; the next call goes on.
        """
        now = FINE.begin(self._clock())
        at = now - FINE.step
        if at == self._at:
            return  # woken a moment too early
        before, self._at = self._at, at
        points = self._points()
        if before is None:
            before = self._file.newest()  # by another term, or before a restart
        if points:
            self._file.add(FINE, at, points)
        if before is not None and COARSE.begin(before) != COARSE.begin(at):
            self._combine(COARSE.begin(before))
        if now - self._forgot >= _FORGET_EVERY:
            self._forgot = now
            self._file.forget(now - COARSE.seconds)

    def _points(self) -> dict[SeriesName, HistoryPoint]:
        pools = self._store.versions()
        self._last = {pool: self._last.get(pool, _LastPoint()) for pool in pools}
        return {
            (pool, shard): point
            for pool in pools
            for shard, point in self._points_of(pool, self._last[pool]).items()
        }

    def _points_of(self, pool: str, last: _LastPoint) -> dict[str, HistoryPoint]:
        """Return the points of a pool, of which there are none without a new observation."""
        found = self._observed(pool)
        if found is None or found[1] is last.seen:
            return {}
        status, seen = found
        counts, until = counts_of(status, seen.samples), int(self._monotonic())
        since = max(last.felt_until or until - FINE.step, until - SECONDS)
        felt = self._felt(pool, since, until)
        points = points_of(status, counts, last.counts, felt, until - since)
        last.seen, last.counts, last.felt_until = seen, counts, until
        return points

    def _combine(self, minute: int) -> None:
        """Write the points of a minute that has ended; there may be a thousand of them."""
        found: dict[SeriesName, list[HistoryPoint]] = {}
        for at in range(minute, minute + COARSE.step, FINE.step):
            for name, point in self._file.points_at(FINE, at).items():
                found.setdefault(name, []).append(point)
            let_others_run()
        points = {}
        for count, (name, each) in enumerate(found.items()):
            if count % _AT_ONCE == 0:
                let_others_run()
            points[name] = combined(each)
        if points:
            self._file.add(COARSE, minute, points)
