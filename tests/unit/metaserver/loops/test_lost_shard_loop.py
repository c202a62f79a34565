"""The leader goes on with a move without a shard whose data is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cachemesh.core.placement import Shard
from metaserver.domain.fence_record import fence_of
from metaserver.domain.lost_shard import with_lost
from metaserver.domain.planning import plan_add, plan_remove
from metaserver.domain.resize_move import turned_back
from metaserver.store import Store
from tests.support.resize_run import MASTERS, Run
from tests.support.store_records import actions, added, create, document, event, intent


@pytest.fixture
def store(sqlite_store: Store) -> Store:
    return sqlite_store


def begin_added(run: Run) -> None:
    """Begin to add shard c, with its keys moved; shard a does not answer from then on."""
    plan = replace(plan_add(create(run.store), Shard("c"), "10.0.0.3:6379"), strategy="move")
    run.begin(plan, added(run.store, intent()).id)
    run.go(lambda: run.state == "moving 1")


def lose(run: Run, shard: str) -> None:
    run.shards.unseen[shard] = run.shards.unmoved[shard] = "Connection refused"
    run.ask(with_lost(run.document, run.resize, shard))


def test_a_lost_source_is_done_and_has_its_keys_removed_once_it_is_back(store: Store) -> None:
    run = Run(store)
    begin_added(run)
    run.shards.unmoved = {"a": "Connection refused"}
    run.go(lambda: run.resize.done == ("b",))
    lose(run, "a")
    run.go()
    assert (run.state, run.names) == ("stable", ("a", "b", "c"))
    assert run.moves_of() == ["move b"]
    assert [(each.shard, each.drained) for each in store.sweeps()] == [("a", False), ("b", False)]
    record = fence_of(run.document)
    assert record is not None and record.masters == {"a": MASTERS["a"]}, "until it is back"
    assert actions(store).count("resize.move") == 2


def test_a_client_that_lags_is_waited_for_and_the_keys_move_on_as_before(store: Store) -> None:
    run = Run(store)
    begin_added(run)
    lose(run, "a")
    run.clients.versions = {"slow": run.document.version - 1}
    run.shards.connected = {"slow"}
    run.go(lambda: run.state == "paused 1")
    assert run.document.migrating is not None
    assert (run.document.migrating.phase, run.document.migrating.lost) == ("move", frozenset())
    run.clients.versions = {}
    run.another_leader()
    run.go()
    assert run.names == ("a", "b", "c")


def test_a_second_look_remembers_where_a_marker_is(store: Store) -> None:
    run = Run(store)
    begin_added(run)
    lose(run, "a")
    run.clients.versions = {"slow": run.document.version - 1}
    run.go(lambda: f"fence {run.document.version}" in run.shards.done)
    run.clients.versions = {"slow": run.document.version}
    run.shards.done.clear()
    run.go(lambda: run.resize.state == "moving")
    assert run.shards.done == ["look"]
    record = fence_of(run.document)
    assert record is not None
    assert (record.clients, set(record.masters)) == (("slow",), {"a", "b"})


def test_turned_back_a_lost_new_shard_is_not_waited_for(store: Store) -> None:
    run = Run(store)
    begin_added(run)
    run.shards.unseen = run.shards.unmoved = {"c": "Connection refused"}
    run.ask(turned_back(run.document, run.resize))
    run.go(lambda: run.state == "paused 3")
    assert run.resize.reason == "shard c does not answer: Connection refused"
    lose(run, "c")
    run.go()
    assert (run.state, run.names) == ("stable", ("a", "b"))
    assert run.shards.done[-1] == "forget c"
    assert store.sweeps() == () and store.intents() == ()


def test_lost_while_keys_move_back_it_leaves_what_is_back_alone(store: Store) -> None:
    run = Run(store)
    run.shards.masterships = {"a": "a-1", "b": "b-1"}
    begin_added(run)
    run.ask(turned_back(run.document, run.resize))
    run.go(lambda: run.state == "moving 1" and run.resize.back)
    run.shards.masterships["a"] = "a-2"  # it has failed over, with all that clients wrote
    run.shards.done.clear()
    lose(run, "c")
    run.go()
    assert (run.state, run.names) == ("stable", ("a", "b"))
    assert "remove stale" not in run.shards.done


def test_a_lost_shard_that_leaves_is_not_waited_for(store: Store) -> None:
    run = Run(store)
    before = store.create_document(document("cache", "a", "b"), event("pool.create"))
    assert before is not None
    run.begin(replace(plan_remove(before, "b"), strategy="move"))
    run.go(lambda: run.state == "moving 1")
    lose(run, "b")
    run.go()
    assert run.names == ("a",)
    assert (run.shards.done[-1], store.sweeps()) == ("forget b", ())
