"""Moves of keys step by step, on a store, with clients and shards that a test scripts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cachemesh.core.migration.routing import MigratingPlacement
from cachemesh.core.placement import Placement, Shard
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.fence_record import fence_of
from metaserver.domain.planning import ChangePlan, plan_add, plan_remove
from metaserver.domain.resize_move import turned_back
from metaserver.domain.resize_steps import ATTEMPTS
from metaserver.store import Store
from tests.support.resize_run import MASTERS, Run
from tests.support.store_records import (
    actions,
    added,
    create,
    document,
    event,
    failover,
    intent,
)


@pytest.fixture
def store(sqlite_store: Store) -> Store:
    return sqlite_store


def moved(plan: ChangePlan) -> ChangePlan:
    return replace(plan, strategy="move")


def create_modula(store: Store) -> PoolDocument:
    """Store a pool of which a new shard takes two stages."""
    shards = [{"name": name, "weight": 1} for name in MASTERS]
    placement = Placement.from_dict({"strategy": "modula", "hash": "md5", "shards": shards})
    created = store.create_document(document().replace(placement=placement), event("pool.create"))
    assert created is not None
    return created


def begin_added(run: Run, before: PoolDocument) -> None:
    """Begin to add shard c, with its keys moved."""
    plan = moved(plan_add(before, Shard("c"), "10.0.0.3:6379"))
    run.begin(plan, added(run.store, intent()).id)


def test_keys_are_moved_shard_by_shard_until_none_are_left(store: Store) -> None:
    run = Run(store)
    begin_added(run, create(store))
    run.go(lambda: run.state == "moving 1")
    assert run.document.migrating is not None
    assert run.document.migrating.replicas == {"a": 1, "b": 1}, "one replica of each is enough"
    run.go()
    assert (run.state, run.names) == ("stable", ("a", "b", "c"))
    assert run.now < 1, "it waits for nothing"
    assert run.shards.done == ["clear", "look", "move a", "move b"]
    assert run.document.migration is None
    assert [(each.shard, each.drained) for each in store.sweeps()] == [("a", False), ("b", False)]
    assert store.intents() == ()
    assert store.last_master("cache", "c") == "10.0.0.3:6379"
    done = actions(store)
    assert done[:4] == ["resize.done", "resize.source-done", "resize.source-done", "resize.move"]
    assert store.events()[0].detail.endswith("done, 10 keys moved")


def test_of_two_stages_each_is_prepared_by_itself(store: Store) -> None:
    run = Run(store)
    begin_added(run, create_modula(store))
    run.clients.versions = {"quick": 99}
    run.go()
    assert (run.state, run.names) == ("stable", ("a", "b", "c"))
    steps = [each for each in reversed(actions(store)) if each.startswith("resize.")]
    middle = [
        "resize.move",
        "resize.source-done",
        "resize.source-done",
        "resize.prepare",
        "resize.move",
    ]
    assert steps[-len(middle) - 2 :] == [*middle, "resize.source-done", "resize.done"]
    assert run.moves_of() == ["move a", "move b", "move b"]


def test_sentinels_are_asked_before_clients_hold_commands(store: Store) -> None:
    """So that nobody waits then for those that are silent."""
    run = Run(store)
    begin_added(run, create_modula(store))
    prepared_at = set()
    while run.state != "stable":
        run.next_version()
        if run.state.startswith("preparing"):
            prepared_at.add(run.document.version)
    assert run.shards.sentinels_asked == {version - 1 for version in prepared_at}
    assert len(prepared_at) == 2


def test_a_client_that_lags_in_the_second_stage_has_the_first_go_on(store: Store) -> None:
    run = Run(store)
    begin_added(run, create_modula(store))
    run.go(lambda: run.state == "moving 1")
    run.shards.between = lambda: run.clients.versions.update(slow=run.document.version)
    run.shards.connected = {"slow"}
    run.go(lambda: run.state == "paused 1")
    assert (run.resize.stage, run.resize.reason) == (1, "waits for client slow")
    assert run.document.migrating is not None
    assert (run.document.migrating.phase, run.document.migrating.stage) == ("move", 0)
    run.shards.between = lambda: None
    run.clients.versions = {}
    run.go()
    assert run.names == ("a", "b", "c")


def test_a_shard_whose_keys_cannot_be_moved_is_told_and_tried_again(store: Store) -> None:
    run = Run(store)
    begin_added(run, create(store))
    run.shards.unmoved = {"a": "it does not answer"}
    run.go(lambda: run.now > 5)
    assert run.state == "moving 1"
    assert run.resize.reason == "keys cannot be moved from shard a: it does not answer"
    assert (run.resize.done, run.moves_of()) == (("b",), ["move b"])
    assert actions(store).count("resize.waits") == 1
    run.shards.unmoved = {"a": "the target has no room for the keys"}
    run.go(lambda: "no room" in run.resize.reason)
    assert actions(store).count("resize.waits") == 2
    run.shards.unmoved = {}
    run.go()
    assert (run.state, run.moves_of()) == ("stable", ["move b", "move a"])


def test_with_keys_that_are_too_large_nobody_is_asked_to_hold(store: Store) -> None:
    run = Run(store)
    begin_added(run, create(store))
    run.shards.large = {"b": "key 'k' of 1.0 GiB is too large"}
    run.go(lambda: run.now > 5)
    assert run.state == "clearing 0" and run.document.migration is None
    assert run.resize.reason == "keys cannot be moved from shard b: key 'k' of 1.0 GiB is too large"
    assert actions(store).count("resize.waits") == 1
    run.shards.large = {}
    run.go()
    assert (run.state, run.names) == ("stable", ("a", "b", "c"))


def test_another_leader_moves_the_keys_of_the_shards_that_are_left(store: Store) -> None:
    run = Run(store)
    begin_added(run, create_modula(store))
    run.shards.at_once = 1
    passed = []
    while run.state != "stable":
        passed.append((run.state, run.resize.stage, len(run.resize.done)))
        run.next_version()
        run.another_leader()
    assert passed == [
        ("clearing 0", 0, 0),
        ("preparing 1", 0, 0),
        ("moving 1", 0, 0),
        ("moving 1", 0, 1),
        ("moving 1", 0, 2),
        ("preparing 1", 1, 0),
        ("moving 1", 1, 0),
        ("moving 1", 1, 1),
    ]
    assert run.moves_of() == ["move a", "move b", "move b"]
    assert run.names == ("a", "b", "c")
    assert store.events()[0].detail.endswith("done, 15 keys moved")


def test_what_a_leader_has_moved_counts_for_nothing_once_another_has_gone_on(store: Store) -> None:
    """It may have moved them by a document that has been replaced since."""
    run = Run(store)
    begin_added(run, create(store))

    def change_once() -> None:
        run.shards.between = lambda: None
        run.pace(keys_per_second=100)

    run.shards.between = change_once
    run.go(lambda: run.moves_of() != [])
    assert (run.state, run.resize.done, run.resize.moved) == ("moving 1", (), 0)
    run.go()
    assert run.moves_of() == ["move a", "move b", "move a", "move b"]
    assert store.events()[0].detail.endswith("done, 10 keys moved")


def test_a_shard_that_does_not_answer_the_look_has_it_step_back(store: Store) -> None:
    run = Run(store)
    begin_added(run, create(store))
    run.shards.unseen = {"b": "Connection refused"}
    run.go(lambda: run.state == f"paused {ATTEMPTS + 2}")
    assert run.resize.reason == "shard b does not answer: Connection refused"
    assert (run.document.migration, run.moves_of()) == (None, [])
    assert "resize.move" not in actions(store)
    run.shards.unseen = {}
    run.go()
    assert (run.state, run.names) == ("stable", ("a", "b", "c"))
    assert fence_of(run.document) is None


def test_a_client_that_is_fenced_is_remembered_while_keys_move(store: Store) -> None:
    run = Run(store)
    run.clients.versions, run.clients.expired = {"cut off": 1}, {"cut off"}
    begin_added(run, create(store))
    run.go(lambda: run.state == "moving 1")
    record = fence_of(run.document)
    assert record is not None and record.clients == ("cut off",)
    run.go()
    assert fence_of(run.document) == record


def test_a_paused_move_goes_on_once_it_is_resumed(store: Store) -> None:
    run = Run(store)
    begin_added(run, create(store))
    run.pace(paused=True)
    run.go(lambda: run.now > 10)
    assert (run.state, run.moves_of()) == ("moving 1", []), "clients may pull"
    run.pace(paused=False)
    run.shards.at_once = 1
    run.go(lambda: run.moves_of() == ["move a"])
    run.pace(paused=True)
    run.go(lambda: run.now > 20)
    assert run.moves_of() == ["move a"]
    run.pace(paused=False)
    run.go()
    assert (run.state, run.moves_of()) == ("stable", ["move a", "move b"])


def turn_back(run: Run) -> None:
    run.ask(turned_back(run.document, run.resize))


def test_turned_back_half_way_it_ends_where_it_began(store: Store) -> None:
    run = Run(store)
    begin_added(run, create(store))
    run.shards.at_once = 1
    run.go(lambda: run.moves_of() == ["move a"])
    turn_back(run)
    run.go()
    assert (run.state, run.names) == ("stable", ("a", "b"))
    assert run.moves_of() == ["move a", "move c"]
    assert [(each.shard, each.drained) for each in store.sweeps()] == [("c", True)]
    assert [each.master for each in store.sweeps()] == ["10.0.0.3:6379"]
    assert store.intents() == ()
    assert store.events()[0].detail.endswith("turned back, 10 keys moved")


@pytest.mark.parametrize("at", ["moving 1", "preparing 1"])
def test_turned_back_in_the_second_stage_it_ends_where_it_began(store: Store, at: str) -> None:
    run = Run(store)
    begin_added(run, create_modula(store))
    run.go(lambda: run.resize.stage == 1 and run.state == at)
    turn_back(run)
    assert (run.resize.stage, run.resize.back) == (1 if at == "moving 1" else 0, True)
    run.clients.versions, run.shards.connected = {"slow": 1}, {"slow"}
    run.go(lambda: run.state == "paused 1")
    assert run.document.migrating is not None and not run.document.migrating.back
    run.clients.versions = {}
    run.go()
    assert (run.state, run.names) == ("stable", ("a", "b"))
    assert ("c", True) in [(each.shard, each.drained) for each in store.sweeps()]


def test_keys_stay_where_they_have_moved_while_a_failover_of_a_shard_that_leaves_goes_on(
    store: Store,
) -> None:
    run = Run(store)
    before = create(store)
    run.begin(moved(plan_remove(before, "b")))
    under_way = store.begin_failover(failover("b"))
    assert under_way is not None
    run.go(lambda: "failover of b" in run.resize.reason)
    told = run.document.migrating
    assert told is not None, "clients would look for the keys where they were"
    by_clients = MigratingPlacement(before.placement, told)
    assert {by_clients.owner(b"%d" % number) for number in range(50)} == {"a"}
    assert run.resize.has_moved
    assert store.end_failover(under_way.id, event(), master=MASTERS["b"])
    run.go()
    assert run.names == ("a",)
