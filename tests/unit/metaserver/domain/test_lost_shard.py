"""A resize goes on without a shard whose data is lost where that is safe, else it is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from cachemesh.core.migration.routing import MigratingPlacement
from metaserver.domain.errors import RequestRefused
from metaserver.domain.lost_shard import (
    bars_turning_back,
    gains_ahead,
    keys_lost,
    loss_in_words,
    lost_masters,
    require_may_be_lost,
    require_may_turn_back,
    steps_without,
    with_lost,
)
from metaserver.domain.move_progress import MoveProgress, SourceProgress
from metaserver.domain.planning import plan_remove
from metaserver.domain.pool_state import NewSweep
from metaserver.domain.resize import concerned, ends_in, sweeps_after
from metaserver.domain.resize_move import (
    following,
    moving,
    paced,
    regaining,
    source_done,
    stage_sources,
    turned_back_stage,
)
from metaserver.domain.resize_status import status_of
from tests.support.move_documents import KEYS, MASTERS, PLANS, REPLICAS, Run, moved
from tests.support.store_records import document

A = frozenset("a")


def lose(run: Run, shard: str, moved: int = 0) -> None:
    require_may_be_lost(run.document, run.resize, shard)
    run.store(with_lost(run.document, run.resize, shard, moved))


def begin(run: Run) -> None:
    """Have keys move, and none of them arrive yet."""
    if run.resize.state != "preparing":
        run.prepare()
    run.store(moving(run.document, run.resize, REPLICAS))


def refusal(run: Run, shard: str) -> tuple[str, str]:
    """Return the code of a refusal, and its text."""
    with pytest.raises(RequestRefused) as refused:
        require_may_be_lost(run.document, run.resize, shard)
    return refused.value.code, str(refused.value)


def test_the_stage_of_a_lost_source_is_prepared_anew_and_then_goes_on_without_it() -> None:
    run = Run(moved("a new shard"))
    begin(run)
    lose(run, "a", moved=30)
    assert run.brief == ("preparing", 0, False, 1)
    assert (run.told.phase, run.told.lost, run.told.begun) == ("prepare", A, True)
    assert (run.resize.moved, run.resize.has_moved) == (30, True)
    assert concerned(run.document, run.resize) == ("b", "c"), "nobody waits for it"
    begin(run)
    assert (run.told.done, run.told.lost) == (A, A)
    assert stage_sources(run.document, run.resize) == ("b",)
    run.store(source_done(run.document, run.resize, "b", 10))
    assert (run.resize.last_stage, run.told.done) == (True, frozenset("ab"))
    assert run.finish().placement == run.after
    assert NewSweep("a", MASTERS["a"]) in sweeps_after(run.state, run.resize), "it stays"


def test_sources_that_are_done_stay_done() -> None:
    run = Run(moved("a new shard"))
    begin(run)
    run.store(source_done(run.document, run.resize, "b", 10))
    lose(run, "a")
    begin(run)
    assert stage_sources(run.document, run.resize) == ()


def test_until_all_clients_have_acknowledged_they_act_as_before() -> None:
    run = Run(moved("a new shard"))
    begin(run)
    former = run.document.migration
    lose(run, "a")
    run.step_back()
    assert (run.document.migration, run.resize.lost) == (former, ("a",))
    begin(run)
    assert (run.told.phase, run.told.lost) == ("move", A)


def test_no_client_pulls_from_a_lost_shard() -> None:
    run = Run(moved("a new shard"))
    begin(run)
    lose(run, "a")
    begin(run)
    placement = MigratingPlacement(run.before, run.told)
    lost = [key for key in KEYS if run.before.owner(key) == "a" and run.after.owner(key) == "c"]
    assert lost and {placement.owner(key) for key in lost} == {"c"}


def test_what_an_operator_has_set_stays() -> None:
    run = Run(moved("a new shard", keys_per_second=50))
    begin(run)
    run.store(paced(run.document, run.resize, {"paused": True}))
    lose(run, "a")
    assert (run.resize.paused, run.resize.keys_per_second) == (True, 50)


def test_a_second_one_is_lost_while_the_stage_is_prepared() -> None:
    run = Run(moved("a new shard"))
    begin(run)
    lose(run, "a")
    lose(run, "b")
    assert run.brief == ("preparing", 0, False, 2)
    run.step_back()
    begin(run)
    assert stage_sources(run.document, run.resize) == ()


def test_a_lost_target_is_turned_back_and_then_counts_as_done() -> None:
    run = Run(moved("a new shard"))
    begin(run)
    code, text = refusal(run, "c")
    assert code == "resize-refused" and "cachemesh migration abort" in text
    run.turn_back()
    lose(run, "c")
    assert run.brief == ("preparing", 0, True, 2)
    begin(run)
    assert stage_sources(run.document, run.resize) == () and run.resize.last_stage
    assert run.finish().placement == run.before
    assert [each.shard for each in sweeps_after(run.state, run.resize) if each.drained] == ["c"]


def test_where_it_is_lost_once_keys_move_back_they_are_no_older_copies() -> None:
    run = Run(moved("a new shard"))
    begin(run)
    run.turn_back()
    assert regaining(run.document, run.resize) == ("a", "b"), "they may have some from a file"
    begin(run)
    lose(run, "c")
    assert regaining(run.document, run.resize) == ()
    run.step_back()
    assert regaining(run.document, run.resize) == ()


def test_in_the_stage_before_there_may_be_older_copies_all_the_same() -> None:
    run = Run(moved("modula"))
    run.move()
    run.next()
    begin(run)
    run.turn_back()
    run.move()
    run.store(following(run.document, run.resize))
    assert run.brief == ("paused", 0, True, 0)
    assert regaining(run.document, run.resize) == ("a", "b")


def test_a_shard_that_leaves_may_be_lost() -> None:
    run = Run(moved("one that leaves"))
    begin(run)
    lose(run, "b")
    begin(run)
    assert stage_sources(run.document, run.resize) == ()
    assert sweeps_after(run.state, run.resize) == [NewSweep("b", MASTERS["b"], drained=True)]


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("name", PLANS)
def test_whichever_shard_may_be_lost_the_resize_ends(name: str, back: bool) -> None:
    """In each stage, forward and back: it is waited for no more, and never gains a key."""
    for shard in MASTERS:
        run = Run(moved(name))
        begin(run)
        run.sweep()
        if back:
            run.turn_back()
            begin(run)
        while shard in gains_ahead(run.document, run.resize) and not run.resize.last_stage:
            run.sweep()
            run.next()
            begin(run)
        if shard in gains_ahead(run.document, run.resize) or shard in run.resize.done:
            continue
        run.store(with_lost(run.document, run.resize, shard))
        assert shard not in concerned(run.document, run.resize)
        run.move_all()
        assert shard in run.told.done
        assert ends_in(run.document, run.resize) == (run.before if back else run.after)


def test_what_is_refused_says_why_and_what_to_do() -> None:
    dropped = Run(PLANS["a new shard"])
    assert refusal(dropped, "a")[0] == "invalid-content"
    run = Run(moved("a new shard"))
    assert "--strategy drop" in refusal(run, "a")[1], "no key has moved"
    begin(run)
    assert refusal(run, "x")[0] == "shard-not-found"
    run.store(source_done(run.document, run.resize, "b", 10))
    assert "no key left" in refusal(run, "b")[1]
    three = document("cache", "a", "b", "c")
    weights = Run(replace(plan_remove(three, "c"), strategy="move"))
    begin(weights)
    assert "keys have still to move to shard 'a'" in refusal(weights, "a")[1]


def test_a_shard_that_takes_no_part_is_not_waited_for() -> None:
    run = Run(moved("a new shard"))
    begin(run)
    apart = replace(run.resize, placement=run.before)
    with pytest.raises(RequestRefused, match="takes no part"):
        require_may_be_lost(run.document, apart, "a")


def test_a_shard_that_gains_keys_either_way_has_to_come_back() -> None:
    run = Run(moved("ketama to modula"))
    begin(run)
    either = gains_ahead(run.document, run.resize) & gains_ahead(
        run.document, run.resize, turned_back=True
    )
    assert either
    for shard in either:
        assert "start an empty redis-server" in refusal(run, shard)[1]


def test_keys_do_not_move_back_to_a_lost_shard() -> None:
    run = Run(moved("a new shard"))
    begin(run)
    require_may_turn_back(run.document, run.resize)
    lose(run, "a")
    for state in ("preparing", "moving"):
        if state == "moving":
            begin(run)
        assert run.resize.state == state
        assert bars_turning_back(run.document, run.resize) == ("a",)
        with pytest.raises(RequestRefused, match="shard a, whose data is lost"):
            require_may_turn_back(run.document, run.resize)
    assert "start an empty redis-server" in refusal(run, "c")[1]


def test_a_stage_that_is_prepared_anew_is_the_one_that_would_move_back() -> None:
    run = Run(moved("modula"))
    run.move()
    run.next()
    assert turned_back_stage(run.document, run.resize) == 0
    begin(run)
    run.store(with_lost(run.document, run.resize, "b"))
    assert turned_back_stage(run.document, run.resize) == 1


def test_where_it_was_is_known() -> None:
    run = Run(moved("a new shard"))
    begin(run)
    lose(run, "a")
    assert lost_masters(run.state, run.resize) == {"a": MASTERS["a"]}


def stay(run: Run) -> None:
    assert run.resize.state == "moving"


@pytest.mark.parametrize(
    ("turn", "shard", "keys"),
    [(stay, "a", 40), (stay, "c", None), (Run.turn_back, "c", 60)],
)
def test_how_many_keys_are_lost(turn: Callable[[Run], None], shard: str, keys: int | None) -> None:
    run = Run(moved("a new shard"))
    begin(run)
    run.store(source_done(run.document, run.resize, "b", 50))
    sources = [
        SourceProgress("a", "waits", moved=10, left=40),
        SourceProgress("b", "done", moved=50, left=0),
    ]
    progress = MoveProgress(run.resize.id, 0, False, sources)
    turn(run)
    assert keys_lost(run.document, run.resize, shard, progress) == keys
    assert keys_lost(run.document, run.resize, shard, None) is None
    other = replace(progress, resize=1)
    assert keys_lost(run.document, run.resize, shard, other) is None


def test_an_operator_is_told_what_is_lost_and_what_happens() -> None:
    assert "about 40 keys" in loss_in_words("a", 40)
    assert "an unknown number of keys" in loss_in_words("a", None)
    run = Run(moved("a new shard"))
    begin(run)
    assert "remove keys from it" in steps_without(run.document, run.resize, "a")[-1]
    run.turn_back()
    assert steps_without(run.document, run.resize, "c")[-1].startswith("SENTINEL REMOVE c")


def test_the_status_names_it() -> None:
    run = Run(moved("a new shard"))
    begin(run)
    lose(run, "a")
    begin(run)
    status = status_of(run.state)
    assert status is not None and status["lost"] == ["a"]
    (lost,) = [each for each in status["sources"] if each["shard"] == "a"]
    assert (lost["state"], lost["left"]) == ("done", 0) and "lost" in lost["detail"]
