"""A move is turned back: shards that get keys back are looked at for older copies of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cachemesh.core.placement import Shard
from metaserver.domain.planning import plan_add
from metaserver.domain.resize_move import turned_back
from metaserver.store import Store
from tests.support.resize_run import Run
from tests.support.store_records import added, create, intent


@pytest.fixture
def run(sqlite_store: Store) -> Run:
    """Keys of shard a have moved to shard c, and the move is about to be turned back."""
    run = Run(sqlite_store)
    run.shards.masterships = {"a": "a-1", "b": "b-1"}
    plan = plan_add(create(sqlite_store), Shard("c"), "10.0.0.3:6379")
    run.begin(replace(plan, strategy="move"), added(sqlite_store, intent()).id)
    run.shards.at_once = 1
    run.go(lambda: "move a" in run.shards.done)
    run.ask(turned_back(run.document, run.resize))
    run.shards.done.clear()
    return run


def test_nobody_holds_before_older_copies_are_removed(run: Run) -> None:
    run.shards.stale = {"a": "10.0.0.1:6379: Connection refused"}
    run.go(lambda: run.resize.reason != "")
    assert run.resize.state == "paused"
    assert "shard a may have older copies" in run.resize.reason
    assert set(run.shards.done) == {"remove stale"}
    run.shards.stale = {}
    run.go()
    assert (run.state, run.names) == ("stable", ("a", "b"))


def test_a_shard_that_is_started_again_meanwhile_is_looked_at_again(run: Run) -> None:
    run.go(lambda: run.resize.state == "preparing")
    assert run.resize.masterships == {"a": "a-1", "b": "b-1"}
    run.shards.masterships["b"] = "b-2"
    run.go(lambda: run.resize.state == "paused")
    assert "shard b was started again" in run.resize.reason
    run.go()
    assert (run.state, run.names) == ("stable", ("a", "b"))
    assert run.shards.done.count("remove stale") == 2


def test_another_leader_looks_again(run: Run) -> None:
    run.another_leader()
    run.go()
    assert run.shards.done.count("remove stale") == 1
    assert (run.state, run.names) == ("stable", ("a", "b"))
