"""The documents of a resize that moves keys: forward, and back to where the keys were."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.migration.phase import Migration
from cachemesh.core.migration.routing import MigratingPlacement
from cachemesh.core.placement import Shard, SlotsPlacement
from metaserver.domain.fence_record import FenceRecord, fence_of
from metaserver.domain.pool_state import NewSweep
from metaserver.domain.resize import (
    Resize,
    concerned,
    ends_in,
    finished,
    given_up,
    plan_of,
    resize_of,
    sweeps_after,
)
from metaserver.domain.resize_move import (
    moving,
    paced,
    source_done,
    stage_sources,
)
from metaserver.domain.resize_status import shown
from tests.support.move_documents import (
    IN_TWO_STAGES,
    KEYS,
    MASTERS,
    PLANS,
    REPLICAS,
    SLOTS,
    Run,
    moved,
    under_way,
)


@pytest.mark.parametrize("name", PLANS)
def test_a_move_has_as_many_stages_as_keep_shards_from_waiting_for_one_another(name: str) -> None:
    run = Run(moved(name))
    assert run.resize.stages == (2 if name in IN_TWO_STAGES else 1)
    dropped = Run(PLANS[name])
    assert (dropped.resize.stages, dropped.resize.strategy) == (1, "drop")


def test_with_one_stage_clients_are_told_to_hold_then_to_pull_then_that_all_have_moved() -> None:
    run = Run(moved("a new shard", keys_per_second=50))
    run.prepare()
    assert run.document.migration == {
        "phase": "prepare",
        "strategy": "move",
        "placement": run.after.to_dict(),
        "id": run.resize.id,
        "stage": 0,
        "stages": 1,
        "back": False,
        "done": [],
        "lost": [],
        "replicas": {},
        "attempt": 1,
    }
    assert (run.resize.keys_per_second, run.resize.has_moved) == (50, False)
    run.store(moving(run.document, run.resize, REPLICAS))
    assert run.brief == ("moving", 0, False, 1)
    assert run.told == Migration("move", run.after, moves=True, replicas=REPLICAS, id=run.resize.id)
    assert (run.resize.has_moved, run.resize.last_stage) == (True, True)
    assert stage_sources(run.document, run.resize) == ("a", "b")
    run.store(source_done(run.document, run.resize, "b", 30))
    assert stage_sources(run.document, run.resize) == ("a",)
    assert (run.told.done, run.resize.moved) == (frozenset("b"), 30)
    run.store(source_done(run.document, run.resize, "a", 12))
    assert stage_sources(run.document, run.resize) == ()
    assert (run.told.done, run.resize.moved) == (frozenset("ab"), 42)
    assert run.document.placement == run.before
    done = run.finish()
    assert (done.placement, done.extra) == (run.after, SLOTS.extra)


def test_shards_that_serve_already_are_cleared_before_keys_move_there() -> None:
    run = Run(moved("another weight"))
    assert (run.resize.state, run.document.migration) == ("clearing", None)
    assert not run.resize.has_moved
    run.prepare()
    assert run.brief == ("preparing", 0, False, 1)


@pytest.mark.parametrize("name", IN_TWO_STAGES)
def test_with_two_stages_clients_are_told_of_one_after_the_other(name: str) -> None:
    run = Run(moved(name))
    run.move()
    first = run.document.migration
    assert run.brief == ("moving", 0, False, 1)
    assert not run.resize.last_stage
    done, so_far = run.told.done, run.resize.moved
    assert done and so_far == 10 * len(done)
    run.next()
    assert run.brief == ("preparing", 1, False, 1)
    assert run.told == Migration(
        "prepare",
        run.after,
        moves=True,
        stage=1,
        stages=2,
        replicas=REPLICAS,
        id=run.resize.id,
    )
    assert (run.resize.former, run.resize.has_moved) == (first, True)
    run.move()
    assert run.brief == ("moving", 1, False, 1)
    assert (run.told.stage, run.resize.former, run.resize.last_stage) == (1, None, True)
    assert run.resize.moved > so_far
    assert run.finish().placement == run.after


@pytest.mark.parametrize("name", PLANS)
def test_what_clients_read_agrees_at_every_step_with_what_the_leader_does(name: str) -> None:
    run = Run(moved(name))
    run.move_all()
    by_clients = MigratingPlacement(run.before, run.told)
    assert by_clients.owners(KEYS) == run.after.owners(KEYS), "once all shards are swept"
    run.turn_back()
    run.move_all()
    by_clients = MigratingPlacement(run.before, run.told)
    assert by_clients.owners(KEYS) == run.before.owners(KEYS)


def test_a_fence_of_the_preparation_is_kept() -> None:
    run = Run(moved("a new shard"))
    fence = FenceRecord(run.document.version, ("x",), {"a": MASTERS["a"]})
    assert fence_of(moving(run.document, run.resize, REPLICAS)) is None
    after = moving(run.document, run.resize, REPLICAS, fence)
    assert fence_of(after) == fence
    assert fence_of(finished(after, under_way(after), None)) == fence


def test_stepping_back_in_the_first_stage_has_clients_act_as_before() -> None:
    run = Run(moved("a new shard"))
    run.prepare()
    run.step_back()
    assert (run.document.migration, run.document.placement) == (None, run.before)
    assert shown(run.resize) == "paused, waits for client x"
    assert not run.resize.has_moved
    run.prepare()
    assert run.brief == ("preparing", 0, False, 2)
    assert run.document.migration is not None and run.document.migration["attempt"] == 2


def test_stepping_back_in_the_second_stage_has_clients_go_on_with_the_first() -> None:
    run = Run(moved("ketama to modula"))
    run.move()
    first = run.document.migration
    run.next()
    for attempt in (1, 2, 3):
        assert run.brief == ("preparing", 1, False, attempt)
        run.step_back()
        assert run.brief == ("paused", 1, False, attempt)
        assert run.document.migration == first
        assert run.resize.has_moved
        run.prepare()
    run.move()
    assert run.finish().placement == run.after


def test_keys_are_moved_back_from_the_middle_of_the_only_stage() -> None:
    run = Run(moved("a new shard"))
    run.store(moving(run.document, run.resize, REPLICAS))
    run.store(source_done(run.document, run.resize, "a", 5))
    forward = run.document.migration
    run.turn_back()
    assert run.brief == ("preparing", 0, True, 1)
    assert run.told == Migration(
        "prepare", run.after, moves=True, back=True, replicas=REPLICAS, id=run.resize.id
    )
    assert (run.resize.has_moved, run.resize.last_stage) == (True, True)
    run.step_back()
    assert run.document.migration == forward, "clients go on with what they did"
    run.prepare()
    assert run.brief == ("preparing", 0, True, 2)
    run.store(moving(run.document, run.resize, REPLICAS))
    assert stage_sources(run.document, run.resize) == ("c",)
    assert shown(run.resize) == "moving back, attempt 2"
    run.sweep()
    assert run.resize.moved == 15
    assert run.finish().placement == run.before


def test_keys_are_moved_back_from_the_middle_of_the_second_stage() -> None:
    run = Run(moved("modula"))
    run.move()
    run.next()
    run.store(moving(run.document, run.resize, REPLICAS))
    run.turn_back()
    assert (run.brief, run.resize.last_stage) == (("preparing", 1, True, 1), False)
    run.move()
    second = run.document.migration
    run.next()
    assert run.brief == ("preparing", 0, True, 1)
    assert run.resize.former == second
    run.step_back()
    assert run.document.migration == second
    run.prepare()
    run.move()
    assert (run.brief, run.resize.last_stage) == (("moving", 0, True, 2), True)
    assert run.finish().placement == run.before


@pytest.mark.parametrize("paused", [False, True])
def test_while_the_second_stage_is_prepared_only_the_first_is_moved_back(paused: bool) -> None:
    run = Run(moved("modula"))
    run.move()
    first = run.document.migration
    run.next()
    if paused:
        run.step_back()
    run.turn_back()
    assert run.brief == ("preparing", 0, True, 1)
    assert run.resize.former == first
    run.step_back()
    assert run.document.migration == first
    run.prepare()
    run.move()
    assert run.resize.last_stage
    assert run.finish().placement == run.before


@pytest.mark.parametrize(
    ("name", "forward", "back"),
    [
        ("a new shard", [("a", False), ("b", False)], [("c", True)]),
        ("one that leaves", [("b", True)], [("a", False), ("c", False)]),
        ("another weight", [("b", False)], [("a", False)]),
        ("modula", [("a", False), ("b", False)], [("a", False), ("b", False), ("c", True)]),
        ("ketama to modula", [("a", False), ("b", False)], [("a", False), ("b", False)]),
        (
            "jedis to ketama",
            [("a", False), ("b", False)],
            [("a", False), ("b", False), ("c", True)],
        ),
    ],
)
def test_shards_are_swept_of_what_is_not_theirs_in_the_end(
    name: str, forward: list[tuple[str, bool]], back: list[tuple[str, bool]]
) -> None:
    run = Run(moved(name))
    run.move_all()
    assert ends_in(run.document, run.resize) == run.after
    assert sweeps_after(run.state, run.resize) == [
        NewSweep(shard, MASTERS[shard], drained) for shard, drained in forward
    ]
    run.turn_back()
    assert ends_in(run.document, run.resize) == run.before
    assert sweeps_after(run.state, run.resize) == [
        NewSweep(shard, MASTERS[shard], drained) for shard, drained in back
    ]


@pytest.mark.parametrize("name", PLANS)
def test_clients_are_fenced_off_all_shards_between_which_keys_move(name: str) -> None:
    run, dropped = Run(moved(name)), Run(PLANS[name])
    plan = PLANS[name]
    assert concerned(run.document, run.resize) == tuple(sorted({*plan.losers, *plan.gainers}))
    assert concerned(dropped.document, dropped.resize) == plan.losers
    assert plan_of(run.document, run.resize).strategy == "move"


def test_before_any_key_has_moved_it_is_given_up_at_once() -> None:
    run = Run(moved("a new shard"))
    run.prepare()
    assert not run.resize.has_moved
    after = given_up(run.state, run.resize)
    assert (after.migration, after.placement, resize_of(after)) == (None, run.before, None)
    assert fence_of(after) == FenceRecord(run.document.version, (), MASTERS)


def test_another_pace_changes_nothing_else() -> None:
    run = Run(moved("a new shard"))
    run.store(moving(run.document, run.resize, REPLICAS))
    was = run.document
    run.store(paced(was, run.resize, {"paused": True}))
    assert run.resize == replace(under_way(was), paused=True)
    run.store(paced(run.document, run.resize, {"keys_per_second": 9}))
    assert run.resize == replace(under_way(was), paused=True, keys_per_second=9)
    run.store(paced(run.document, run.resize, {"paused": False, "keys_per_second": 0}))
    assert run.resize == under_way(was)
    assert (run.document.migration, run.document.placement) == (was.migration, was.placement)


names = st.sampled_from(["a", "b", "c"])
resizes = st.builds(
    Resize,
    id=st.integers(1, 9),
    state=st.sampled_from(["clearing", "preparing", "paused", "moving"]),
    placement=st.just(SlotsPlacement.even([Shard("a"), Shard("c")])),
    summary=st.text(max_size=3),
    actor=st.just("token:me"),
    target=st.none() | names,
    attempt=st.integers(0, 20),
    masters=st.dictionaries(names, st.just("10.0.0.1:6379")),
    intents=st.lists(st.integers(1, 9), max_size=2).map(tuple),
    reason=st.text(max_size=3),
    stays=st.booleans(),
    strategy=st.just("move"),
    stage=st.integers(0, 1),
    stages=st.just(2),
    back=st.booleans(),
    done=st.frozensets(names).map(lambda shards: tuple(sorted(shards))),
    replicas=st.dictionaries(names, st.integers(0, 1)),
    moved=st.integers(0, 10**12),
    paused=st.booleans(),
    keys_per_second=st.integers(0, 10**6),
    max_latency=st.integers(0, 60_000),
    longest_hold=st.floats(0, 10),
    began=st.sampled_from(["", "2026-01-02T03:04:05.678Z"]),
    former=st.none() | st.just(Migration("move", SLOTS.placement, moves=True).to_dict()),
)


@given(resizes)
def test_a_later_leader_reads_all_of_it(resize: Resize) -> None:
    assert Resize.from_dict(json.loads(json.dumps(resize.to_dict()))) == resize


def test_a_resize_of_an_earlier_release_is_read() -> None:
    kept = Run(PLANS["a new shard"]).resize.to_dict()
    new = ("strategy", "stage", "stages", "back", "done", "replicas", "moved", "paused")
    later = ("max_latency", "longest_hold", "began")
    for name in (*new, *later, "keys_per_second", "former"):
        del kept[name]
    read = Resize.from_dict(kept)
    assert (read.strategy, read.stage, read.stages, read.former) == ("drop", 0, 1, None)
    assert read == Run(PLANS["a new shard"]).resize


@pytest.mark.parametrize(
    "changes",
    [
        {"stage": "one"},
        {"stages": None},
        {"done": 3},
        {"replicas": []},
        {"replicas": {"a": "some"}},
        {"moved": {}},
        {"keys_per_second": "fast"},
        {"max_latency": "short"},
        {"longest_hold": -1},
        {"state": []},
    ],
)
def test_a_move_that_cannot_be_read_is_told(changes: dict[str, Any]) -> None:
    kept = {**Run(moved("a new shard")).resize.to_dict(), **changes}
    with pytest.raises(InvalidDocumentError, match="resize"):
        Resize.from_dict(kept)
