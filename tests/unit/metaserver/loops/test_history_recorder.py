"""The recorder of history: which points it writes, also after a restart and beside a full disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.errors import RequestRefused
from metaserver.domain.history import COARSE, FINE, WHOLE_POOL
from metaserver.domain.quality import QualitySum
from metaserver.domain.status import InstanceSample, Observation, pool_status
from metaserver.loops.history_recorder import HistoryRecorder
from metaserver.service.history import pool_history, seconds_of
from metaserver.store import StorageError, Store
from metaserver.store.history_file import HistoryFile
from tests.support.pool_observations import MASTER, MASTER_INFO, observation

NOON = 1_800_000_000.0 - 1_800_000_000 % 3600
SHARD = ("cache", "cache-0")


class Pool:
    """A pool that does 100 commands a second, as a monitor has observed it; time is set by hand."""

    def __init__(self, file: HistoryFile, store: Store) -> None:
        self.now = NOON
        self.file = file
        self.store = store
        self.asked: list[tuple[int, int]] = []
        self.seen: Observation | None = None
        self.observe()

    def observe(self) -> None:
        """Observe the pool now."""
        info = {**MASTER_INFO, "total_commands_processed": str(int((self.now - NOON) * 100))}
        sample = {MASTER: InstanceSample(MASTER, self.now - NOON + 10.0, info)}
        self.seen = dataclasses.replace(observation(), samples=sample)

    def observed(self, pool: str) -> tuple[dict[str, Any], Observation] | None:
        assert pool == "cache"
        return None if self.seen is None else (pool_status(self.seen), self.seen)

    def felt(self, pool: str, begin: int, end: int) -> Mapping[str, QualitySum]:
        self.asked.append((begin, end))
        return {}

    def recorder(self) -> HistoryRecorder:
        return HistoryRecorder(
            self.store,
            self.observed,
            self.felt,
            self.file,
            clock=lambda: self.now,
            monotonic=lambda: self.now - NOON + 100,
        )

    def run(self, recorder: HistoryRecorder, seconds: int) -> None:
        """Let time pass, with an observation and a point each five seconds."""
        for _ in range(seconds // FINE.step):
            self.now += FINE.step
            self.observe()
            recorder.record()

    def told(self, **how: Any) -> dict[str, Any]:
        return pool_history(self.file, "cache", None, ["cache-0"], now=self.now, **how)


@pytest.fixture
def pool(tmp_path: Path, sqlite_store: Store) -> Pool:
    document = PoolDocument("cache", 1, SlotsPlacement.even([Shard("cache-0")]))
    sqlite_store.create_document(document, NewEvent("pool.create"))
    return Pool(HistoryFile(tmp_path / "history"), sqlite_store)


def test_a_point_each_five_seconds_and_one_of_each_minute(pool: Pool) -> None:
    recorder = pool.recorder()
    recorder.record()
    pool.run(recorder, 130)
    fine = pool.file.points(SHARD, FINE, 0, pool.now)
    assert [at for at, _ in fine] == [int(NOON) + n * FINE.step for n in range(-1, 26)]
    assert [point.commands for _, point in fine] == [None, *[500] * 26]
    minutes = pool.file.points(SHARD, COARSE, 0, pool.now)
    assert [(at - NOON, point.commands) for at, point in minutes] == [
        (-60, None),
        (0, 6000),
        (60, 6000),
    ]
    assert pool.asked[1:] == [(100 + 5 * n, 105 + 5 * n) for n in range(26)], "each second once"
    whole = pool.file.points(("cache", WHOLE_POOL), COARSE, 0, pool.now)
    assert [point.commands for _, point in whole] == [None, 6000, 6000]


def test_what_a_former_leader_began_is_combined_by_the_next_one(pool: Pool) -> None:
    pool.run(pool.recorder(), 30)
    pool.file.close()
    pool.now += 100
    pool.run(pool.recorder(), 10)
    (minute, *_) = pool.file.points(SHARD, COARSE, 0, pool.now)
    assert (minute[0], minute[1].commands) == (NOON, 2500)
    assert len(pool.file.points(SHARD, FINE, 0, pool.now)) == 8, "and the gap stays one"
    pool.file.close()


def test_an_old_observation_is_not_written_again(pool: Pool) -> None:
    recorder = pool.recorder()
    recorder.record()
    recorder.record()  # woken too early
    for _ in range(3):
        pool.now += FINE.step
        recorder.record()
    assert len(pool.file.points(SHARD, FINE, 0, pool.now)) == 1
    pool.run(recorder, 5)
    assert len(pool.file.points(SHARD, FINE, 0, pool.now)) == 2
    pool.seen = None
    pool.now += FINE.step
    recorder.record()
    assert len(pool.file.points(SHARD, FINE, 0, pool.now)) == 2


def test_a_deleted_pool_is_forgotten_after_a_day(pool: Pool) -> None:
    recorder = pool.recorder()
    pool.run(recorder, 10)
    assert pool.store.delete_document("cache", 1, NewEvent("pool.delete")) is not None
    pool.run(recorder, 10)
    assert len(pool.told(step=5)["points"]) == 2
    pool.now += COARSE.seconds + 3600
    recorder.record()
    assert pool.file.began(SHARD) is None


def test_it_goes_on_once_the_file_can_be_written(pool: Pool) -> None:
    recorder = pool.recorder()
    pool.file.path.mkdir()
    with pytest.raises(StorageError):
        pool.run(recorder, 5)
    pool.file.path.rmdir()
    pool.run(recorder, 5)
    assert [at for at, _ in pool.file.points(SHARD, FINE, 0, pool.now)] == [NOON + 5]


def test_an_answer_has_the_minutes_and_what_has_come_since(pool: Pool) -> None:
    pool.run(pool.recorder(), 150)
    day = pool.told(since=NOON - 86_400, step=60)
    assert (day["step"], day["pool"], day["shard"]) == (60, "cache", None)
    assert [point["ops_per_second"] for point in day["points"]] == [100.0, 100.0, 100.0]
    assert day["points"][-1]["at"] == "2027-01-15T08:02:00.000Z"
    hour = pool.told()
    assert (hour["step"], len(hour["points"])) == (10, 15)
    assert hour["known_since"] == "2027-01-15T08:00:00.000Z"
    later = pool.told(since=NOON + 60, step=7)
    assert (later["step"], len(later["points"])) == (10, 9)
    assert pool.told(since=pool.now + 1e9)["points"] == []


def test_a_shard_that_is_unknown_and_one_that_is_new(pool: Pool) -> None:
    with pytest.raises(RequestRefused) as refused:
        pool_history(pool.file, "cache", "cache-9", ["cache-0"], now=pool.now)
    assert refused.value.code == "shard-not-found"
    new = pool_history(pool.file, "cache", "cache-0", ["cache-0"], now=pool.now)
    assert (new["points"], new["known_since"]) == ([], None)
    pool.run(pool.recorder(), 5)
    removed = pool_history(pool.file, "cache", "cache-0", [], now=pool.now)
    assert len(removed["points"]) == 1, "it was there"


def test_times_as_the_contract_allows_them() -> None:
    assert seconds_of("1970-01-02") == 86_400
    assert seconds_of("1970-01-01T00:01") == seconds_of("1970-01-01T00:01:00.5Z") == 60
    for wrong in ("2026-02-30", "2026-01-01T24:61Z", "0000-01-01"):
        with pytest.raises(RequestRefused, match="no time"):
            seconds_of(wrong)
