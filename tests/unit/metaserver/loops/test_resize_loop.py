"""Resizes step by step, on a store, with clients and shards that a test scripts."""

from __future__ import annotations

import pytest

from cachemesh.core.placement import Shard
from metaserver.domain.fence_record import fence_of
from metaserver.domain.planning import plan_add, plan_remove, plan_weight
from metaserver.domain.resize_stay import taken_back
from metaserver.domain.resize_steps import ATTEMPTS, STAY_HOLD, hold
from metaserver.store import Store
from tests.support.resize_run import MASTERS, Run
from tests.support.store_records import (
    actions,
    added,
    create,
    event,
    failover,
    intent,
)


@pytest.fixture
def store(sqlite_store: Store) -> Store:
    return sqlite_store


def test_without_laggards_it_is_over_at_once(store: Store) -> None:
    run = Run(store)
    run.begin(plan_add(create(store), Shard("c"), "10.0.0.3:6379"), added(store, intent()).id)
    assert run.state == "preparing 1"
    document = store.document("cache")
    assert document is not None and document.migration is not None
    run.go()
    assert (run.state, run.names, run.now) == ("stable", ("a", "b", "c"), 0.0)
    assert run.shards.done == ["look"]
    assert [sweep.shard for sweep in store.sweeps()] == ["a", "b"]
    assert store.intents() == ()
    assert store.last_master("cache", "c") == "10.0.0.3:6379"
    after = store.document("cache")
    assert after is not None and after.migration is None and fence_of(after) is None


def test_shards_that_gain_are_cleared_before(store: Store) -> None:
    run = Run(store)
    run.begin(plan_weight(create(store), "a", 3))
    assert run.state == "clearing 0"
    run.shards.unclear = {"a": "it does not answer"}
    run.go(lambda: len(run.shards.done) > 3)
    document = store.document("cache")
    assert run.state == "clearing 0" and document is not None
    assert "a cannot be cleared" in str(document.extra["resize"])
    assert actions(store).count("resize.waits") == 1
    run.shards.unclear = {}
    run.go()
    assert run.state == "stable"


def test_a_client_that_lags_is_waited_for_then_stepped_back_for_then_fenced(store: Store) -> None:
    run = Run(store)
    run.clients.versions = {"quick": 99, "frozen": 1}
    run.shards.connected = {"quick", "frozen"}
    run.begin(plan_remove(create(store), "b"))
    run.go(lambda: run.state == "paused 1")
    assert run.now >= hold(1)
    assert run.names == ("a", "b")
    run.go()
    assert run.state == "stable"
    assert actions(store).count("resize.step-back") == ATTEMPTS - 1
    assert [each for each in run.shards.done if each.startswith("fence")] != []
    after = store.document("cache")
    record = None if after is None else fence_of(after)
    assert record is not None and record.clients == ("frozen",)
    assert set(record.masters) == set(MASTERS)


def test_a_client_that_lags_and_has_no_connection_is_fenced_at_the_first_attempt(
    store: Store,
) -> None:
    """Its process may have been killed; fenced, a live one asks before it connects."""
    run = Run(store)
    run.clients.versions = {"quick": 99, "killed": 1}
    run.shards.connected = {"quick"}
    run.begin(plan_remove(create(store), "b"))
    run.go()
    assert run.state == "stable" and run.now < 2 * hold(1)
    assert "resize.step-back" not in actions(store)
    assert run.shards.done[-1].startswith("fence")
    after = store.document("cache")
    record = None if after is None else fence_of(after)
    assert record is not None and record.clients == ("killed",)


def test_a_client_that_lags_and_is_not_named_may_have_connections(store: Store) -> None:
    run = Run(store)
    run.clients.versions, run.clients.unnamed = {"(3 not named)": 1}, True
    run.begin(plan_remove(create(store), "b"))
    run.go(lambda: run.state == "paused 1")
    assert run.now >= hold(1)


def test_a_client_whose_lease_is_over_is_fenced_at_once(store: Store) -> None:
    run = Run(store)
    run.clients.versions, run.clients.expired = {"cut off": 1}, {"cut off"}
    run.shards.connected = {"cut off", "never heard of"}
    run.begin(plan_remove(create(store), "b"))
    run.go()
    assert (run.state, run.now) == ("stable", 0.0)
    after = store.document("cache")
    record = None if after is None else fence_of(after)
    assert record is not None and record.clients == ("cut off", "never heard of")


def test_a_client_without_a_connection_is_fenced_too(store: Store) -> None:
    """It may be about to open one."""
    run = Run(store)
    run.clients.versions, run.clients.expired = {"cut off": 1}, {"cut off"}
    run.begin(plan_remove(create(store), "b"))
    run.go()
    after = store.document("cache")
    record = None if after is None else fence_of(after)
    assert record is not None and record.clients == ("cut off",)
    assert run.shards.done[-1].startswith("fence")


def test_what_cannot_be_fenced_is_tried_again(store: Store) -> None:
    run = Run(store)
    run.clients.versions, run.clients.expired = {"cut off": 1}, {"cut off"}
    run.shards.unfenced = {"b": "Connection refused"}
    run.begin(plan_remove(create(store), "b"))
    run.go(lambda: run.state == "paused 2")
    assert run.state == "paused 2"
    document = store.document("cache")
    assert document is not None and "cut off cannot be fenced off shard b" in str(document.extra)
    run.shards.unfenced = {}
    run.go()
    assert run.state == "stable"


def test_another_leader_goes_on(store: Store) -> None:
    """At every step one dies, and the next one knows nothing but the document."""
    run = Run(store)
    run.clients.versions = {"slow": 1}
    run.shards.connected = {"slow"}
    run.begin(plan_weight(create(store), "a", 3))
    states = []
    for _ in range(200):
        states.append(run.state)
        if run.state == "stable":
            break
        if run.state == "paused 2":
            run.clients.versions["slow"] = 99
        before = run.state
        run.go(lambda before=before: run.state != before)  # type: ignore[misc]
        run.another_leader()
    order = list(dict.fromkeys(states))
    assert order == [
        "clearing 0",
        "preparing 1",
        "paused 1",
        "preparing 2",
        "paused 2",
        "preparing 3",
        "stable",
    ]


def test_a_failover_of_a_shard_that_leaves_is_waited_for(store: Store) -> None:
    run = Run(store)
    run.begin(plan_remove(create(store), "b"))
    under_way = store.begin_failover(failover("b"))
    assert under_way is not None
    run.go(lambda: run.state.startswith("paused"))
    document = store.document("cache")
    assert document is not None and "failover of b" in str(document.extra["resize"])
    assert store.end_failover(under_way.id, event(), master=MASTERS["b"])
    run.go()
    assert run.names == ("a",)


def take_back(run: Run, version: int) -> None:
    """Raise the version of a store that was replaced by an older copy of itself."""
    before = run.store.document("cache")
    assert before is not None
    after = taken_back(before, version, MASTERS)
    assert after.migrating is not None
    nobody = after.migrating.placement
    assert all(nobody.owner(key) not in MASTERS for key in (b"1", b"2", b"3"))
    assert run.store.put_document(after, before.version, event("raised")) is not None


def test_a_store_that_was_replaced_has_its_placement_taken_back_once_all_act_on_it(
    store: Store,
) -> None:
    create(store)
    run = Run(store)
    take_back(run, 7)
    run.clients.versions = {"one": 8, "two": 8}
    run.go()
    document = store.document("cache")
    assert document is not None and document.migration is None
    assert (run.state, run.names, document.version) == ("stable", ("a", "b"), 9)
    assert run.shards.done == ["look"]
    assert [(sweep.shard, sweep.drained) for sweep in store.sweeps()] == [
        ("a", False),
        ("b", False),
    ]


def test_nobody_steps_back_to_a_placement_that_the_store_does_not_know(store: Store) -> None:
    create(store)
    run = Run(store)
    take_back(run, 7)
    run.clients.versions = {"one": 8, "two": 0}
    run.shards.connected = {"one", "two", "three"}  # nobody has heard of the third

    run.go(lambda: "fence 8" in run.shards.done)
    assert run.shards.done == ["look", "fence 8"]
    assert run.state == "preparing 1"
    run.clients.versions = {"one": 8, "two": 8, "three": 8}
    run.go()
    assert (run.state, run.names) == ("stable", ("a", "b"))
    assert run.now < STAY_HOLD
    assert "resize.step-back" not in actions(store)


def test_who_is_cut_off_does_not_hold_the_others_up_when_a_store_was_replaced(
    store: Store,
) -> None:
    create(store)
    run = Run(store)
    take_back(run, 7)
    run.clients.versions = {"one": 8, "two": 0}
    run.go()
    document = store.document("cache")
    assert document is not None
    fence = fence_of(document)
    assert fence is not None and fence.clients == ("two",)
    assert STAY_HOLD <= run.now < STAY_HOLD + 0.1
