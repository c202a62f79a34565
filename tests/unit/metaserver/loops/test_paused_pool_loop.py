"""Resizes step by step while their pool is paused, on a store, with scripted clients and shards."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cachemesh.core.placement import Shard
from metaserver.domain.planning import plan_add, plan_remove
from metaserver.domain.pool_pause import IS_PAUSED, PoolPause, paused, resumed
from metaserver.domain.resize_stay import taken_back
from metaserver.store import Store
from tests.support.resize_run import MASTERS, Run
from tests.support.store_records import actions, added, create, event, intent

PAUSE = PoolPause("token:ops", "2026-01-02T03:04:05.678Z", "new disks")


@pytest.fixture
def store(sqlite_store: Store) -> Store:
    return sqlite_store


def begin_adding(run: Run) -> None:
    plan = replace(plan_add(create(run.store), Shard("c"), "10.0.0.3:6379"), strategy="move")
    run.begin(plan, added(run.store, intent()).id)


def pause(run: Run) -> None:
    run.ask(paused(run.document, PAUSE))


def end(run: Run) -> None:
    run.ask(resumed(run.document))
    run.go()
    assert (run.state, run.names) == ("stable", ("a", "b", "c"))


def test_clients_that_hold_commands_go_back_and_nothing_begins_anew(store: Store) -> None:
    run = Run(store)
    run.clients.versions, run.shards.connected = {"slow": 1}, {"slow"}
    begin_adding(run)
    run.go(lambda: run.state == "preparing 1")
    pause(run)
    run.next_version()
    assert (run.state, run.resize.reason) == ("paused 1", IS_PAUSED)
    assert run.document.migration is None
    assert run.stands_still()
    run.clients.versions = {"slow": 99}
    end(run)
    assert run.moves_of() == ["move a", "move b"]


def test_keys_that_move_stop_at_the_next_look_and_go_on_where_they_were(store: Store) -> None:
    run = Run(store)
    begin_adding(run)
    run.go(lambda: run.state == "moving 1")
    run.shards.between = lambda: pause(run)
    run.go(lambda: run.moves_of() != [])
    assert run.resize.done == (), "what was under way at the pause is not counted as done"
    run.shards.between = lambda: None
    assert run.stands_still()
    end(run)
    assert actions(store).count("resize.source-done") == 2


def test_all_keys_have_moved_and_the_placement_stays_until_the_end_of_the_pause(
    store: Store,
) -> None:
    run = Run(store)
    begin_adding(run)
    run.go(lambda: "resize.source-done" in actions(store) and run.resize.done == ("a", "b"))
    pause(run)
    assert run.stands_still()
    assert (run.state, run.names) == ("moving 1", ("a", "b"))
    end(run)


def test_nothing_is_cleared_or_begun(store: Store) -> None:
    run = Run(store)
    begin_adding(run)
    pause(run)
    assert (run.state, run.stands_still()) == ("clearing 0", True)
    end(run)


def test_a_change_that_was_begun_before_the_pause_is_not_stored_after_it(store: Store) -> None:
    run = Run(store)
    before = create(store)
    plan = plan_remove(before, "b")
    run.ask(paused(before, PAUSE))
    assert plan.after is not None
    assert store.put_document(plan.after, before.version, event("late")) is None


def test_clients_that_were_taken_back_go_on_at_the_placement_of_the_store(store: Store) -> None:
    create(store)
    run = Run(store)
    run.ask(paused(taken_back(run.document, 7, MASTERS), PAUSE))
    run.clients.versions = {"one": 99}
    run.go()
    assert (run.state, run.names) == ("stable", ("a", "b"))
