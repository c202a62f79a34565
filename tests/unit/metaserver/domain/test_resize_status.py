"""How a resize that moves keys is shown."""

from __future__ import annotations

from dataclasses import replace

from metaserver.domain.move_progress import MoveProgress, SourceProgress
from metaserver.domain.pool_state import PoolState
from metaserver.domain.resize import (
    waiting,
)
from metaserver.domain.resize_move import (
    moving,
    paced,
    source_done,
)
from metaserver.domain.resize_status import shown, status_of
from tests.support.move_documents import (
    REPLICAS,
    SLOTS,
    Run,
    moved,
)


def test_how_far_a_move_is_is_shown() -> None:
    run = Run(moved("a new shard", keys_per_second=50))
    run.prepare()
    assert status_of(PoolState(SLOTS)) is None
    shared = {
        "id": run.resize.id,
        "summary": "add shard c (10.0.0.3:6379), weight 1",
        "actor": "token:me",
        "began": None,
        "strategy": "move",
        "stage": 0,
        "stages": 1,
        "lost": [],
        "keys_per_second": 50,
        "max_latency": 0,
        "longest_hold": 0.0,
        "left": None,
        "rate": 0.0,
        "seconds_left": None,
        "share": None,
    }
    nothing = {"state": "waits", "moved": None, "bytes_moved": None, "left": None, "detail": ""}
    sources = [{"shard": shard, "to": ["c"], **nothing} for shard in ("a", "b")]
    assert status_of(run.state) == {
        **shared,
        "sources": sources,
        "state": "preparing",
        "attempt": 1,
        "detail": "",
        "back": False,
        "done": [],
        "moved": 0,
        "paused": False,
    }
    assert shown(run.resize) == "preparing"
    run.store(moving(run.document, run.resize, REPLICAS))
    run.store(source_done(run.document, run.resize, "a", 5))
    expected = {
        **shared,
        "sources": [{**sources[0], "state": "done", "left": 0}, sources[1]],
        "state": "moving",
        "attempt": 1,
        "detail": "keys move",
        "back": False,
        "done": ["a"],
        "moved": 5,
        "paused": False,
    }
    assert status_of(run.state) == expected
    assert shown(run.resize) == "moving"
    run.store(paced(run.document, run.resize, {"paused": True}))
    paused = {**expected, "paused": True, "detail": "an operator has paused it"}
    assert status_of(run.state) == paused
    assert shown(run.resize) == "moving, paused"
    run.store(waiting(run.document, run.resize, "shard b does not answer"))
    assert status_of(run.state) == {**paused, "detail": "shard b does not answer"}
    assert shown(run.resize) == "moving, paused, shard b does not answer"
    run.store(source_done(run.document, run.resize, "b", 5))
    assert run.resize.reason == "", "it waits for nothing any more"
    run.turn_back()
    assert shown(run.resize) == "preparing back"
    told = status_of(run.state)
    assert told is not None and (told["back"], told["done"], told["moved"]) == (True, [], 10)
    assert [(each["shard"], each["to"]) for each in told["sources"]] == [("c", ["a", "b"])]


def test_what_the_leader_has_counted_is_told_with_where_the_keys_go() -> None:
    run = Run(moved("a new shard"))
    run.store(moving(run.document, run.resize, REPLICAS))
    counts = (SourceProgress("a", "moving", 30, 900, 60), SourceProgress("b", "done", 10, 300, 0))
    progress = MoveProgress(run.resize.id, 0, False, counts, 20.0)
    told = status_of(replace(run.state, progress=progress.to_dict()))
    assert told is not None
    assert (told["moved"], told["left"], told["share"], told["seconds_left"]) == (40, 60, 0.4, 3.0)
    assert [(each["to"], each["moved"]) for each in told["sources"]] == [(["c"], 30), (["c"], 10)]


def test_a_status_has_the_same_fields_where_the_resize_cannot_be_read() -> None:
    run = Run(moved("a new shard"))
    whole = status_of(run.state)
    broken = run.document.replace(extra={"resize": {"state": "moving"}})
    invalid = status_of(PoolState(broken))
    assert whole is not None and invalid is not None
    assert whole.keys() == invalid.keys()
    assert (invalid["state"], invalid["moved"]) == ("invalid", 0)
