"""A pause of a pool: its document, what is refused, what is told, and what a resize does then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.backup import Backup, PoolBackup
from metaserver.domain.errors import RequestRefused
from metaserver.domain.pool_pause import (
    IS_PAUSED,
    PoolPause,
    is_paused,
    pause_of,
    paused,
    require_not_paused,
    resumed,
    steps_of_pause,
    steps_of_resumption,
    told_pause,
    warnings_of_pause,
    warnings_of_resumption,
)
from metaserver.domain.pool_state import PoolState, Sweep
from metaserver.domain.resize_move import paced
from metaserver.domain.resize_status import status_of
from metaserver.domain.resize_stay import taken_back
from metaserver.domain.resize_steps import Clear, Knowledge, StepBack, Wait, next_step
from metaserver.domain.status import pool_status
from tests.support.move_documents import MASTERS, SLOTS, Run, moved, under_way
from tests.support.pool_observations import observation

PAUSE = PoolPause("token:ops", "2026-01-02T03:04:05.678Z", "new disks")
SWEEP = Sweep(1, "cache", "cache-0", None, 2, False, "running", 7, "", 100.0)
PAUSED_POOL = Knowledge(1000.0, pool_paused=True)


def test_a_pause_is_kept_with_the_document_and_in_a_backup() -> None:
    document = paused(SLOTS, PAUSE)
    backup = Backup("now", (PoolBackup(PoolDocument.from_json(document.to_json()), {}),), ())
    (kept,) = Backup.from_dict(backup.to_dict()).pools
    assert (pause_of(kept.document), is_paused(kept.document)) == (PAUSE, True)
    assert resumed(kept.document) == SLOTS
    assert (pause_of(SLOTS), is_paused(SLOTS), told_pause(SLOTS)) == (None, False, None)


@pytest.mark.parametrize("odd", [{}, {"by": 7}, "yes", True, []])
def test_whatever_somebody_has_written_there_is_a_pause(odd: Any) -> None:
    document = SLOTS.replace(extra={"pause": odd})
    assert is_paused(document) and pause_of(document) is not None
    with pytest.raises(RequestRefused):
        require_not_paused(document)


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("new disks", "is paused by token:ops since 2026-01-02T03:04:05.678Z: new disks"),
        ("", "is paused by token:ops since 2026-01-02T03:04:05.678Z"),
    ],
)
def test_a_change_is_refused_with_who_paused_since_when_why_and_what_next(
    reason: str, told: str
) -> None:
    require_not_paused(SLOTS)
    with pytest.raises(RequestRefused) as refused:
        require_not_paused(paused(SLOTS, replace(PAUSE, reason=reason)))
    assert refused.value.code == "pool-paused"
    assert refused.value.detail == f"Pool 'cache' {told}"
    assert str(refused.value.next_step).endswith("cachemesh pool resume cache")
    assert refused.value.extra["pause"] == {**vars(PAUSE), "reason": reason}


def preparing() -> PoolDocument:
    run = Run(moved("a new shard"))
    run.prepare()
    return run.document


def moving(**pace: Any) -> PoolDocument:
    run = Run(moved("a new shard"))
    run.move()
    return paced(run.document, run.resize, pace)


def test_it_is_pausing_as_long_as_clients_hold_commands() -> None:
    told = {**vars(PAUSE), "state": "paused"}
    assert told_pause(paused(SLOTS, PAUSE)) == told
    assert told_pause(paused(moving(), PAUSE)) == told
    assert told_pause(paused(preparing(), PAUSE)) == {**told, "state": "pausing"}
    assert told_pause(paused(taken_back(SLOTS, 7, MASTERS), PAUSE)) == {**told, "state": "pausing"}


def test_what_a_pause_and_its_end_do_is_told() -> None:
    resized = PoolState(moving(), (SWEEP,))
    assert len(steps_of_pause(PoolState(SLOTS))) == 2
    assert steps_of_pause(resized)[2:] == [
        "move no keys, but for those that apps ask for: add shard c (10.0.0.3:6379), weight 1",
        "remove no more keys in 1 sweep",
    ]
    assert len(steps_of_resumption(PoolState(SLOTS))) == 1
    assert steps_of_resumption(resized)[2:] == ["go on with 1 sweep"]
    assert warnings_of_pause(resized) == warnings_of_resumption(resized) == []
    assert "hold commands" in warnings_of_pause(PoolState(preparing()))[0]
    assert "migration resume" in warnings_of_resumption(PoolState(moving(paused=True)))[0]


def test_a_resize_takes_no_step_but_the_one_that_lets_clients_go_on() -> None:
    cleared = under_way(Run(moved("another weight")).document)
    assert cleared.state == "clearing"
    assert next_step(cleared, PAUSED_POOL) == Wait(0.5, IS_PAUSED)
    assert next_step(cleared, Knowledge(1000.0)) == Clear()
    assert next_step(under_way(preparing()), PAUSED_POOL) == StepBack(IS_PAUSED)
    run = Run(moved("modula"))
    run.prepare()
    run.step_back()
    assert next_step(run.resize, PAUSED_POOL) == Wait(0.5, IS_PAUSED)
    all_moved = replace(PAUSED_POOL, all_moved=True)
    for known in (PAUSED_POOL, all_moved):
        assert next_step(under_way(moving()), known) == Wait(0.5, IS_PAUSED)


def test_a_resize_that_stays_ends_all_the_same() -> None:
    stays = under_way(taken_back(SLOTS, 7, MASTERS))
    assert next_step(stays, PAUSED_POOL) == next_step(stays, Knowledge(1000.0))


def test_the_status_tells_what_waits_for_the_end_of_the_pause() -> None:
    told = status_of(PoolState(paused(moving(), PAUSE)))
    assert told is not None and (told["detail"], told["paused"]) == (IS_PAUSED, False)
    seen = observation(sweeps=(SWEEP, replace(SWEEP, id=2, state="failed", detail="gone")))
    assert [each["state"] for each in pool_status(seen)["sweeps"]] == ["running", "failed"]
    state = replace(seen.state, document=paused(seen.state.document, PAUSE))
    status = pool_status(replace(seen, state=state))
    assert status["pause"] == {**vars(PAUSE), "state": "paused"}
    assert status["health"] == "ok"
    assert [(each["state"], each["detail"]) for each in status["sweeps"]] == [
        ("waiting", IS_PAUSED),
        ("failed", "gone"),
    ]
