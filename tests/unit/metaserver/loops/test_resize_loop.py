"""Resizes step by step, on a store, with clients and shards that a test scripts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from cachemesh.core.migration.routing import MigratingPlacement
from cachemesh.core.placement import Placement, Shard
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.fence_record import fence_of
from metaserver.domain.planning import ChangePlan, plan_add, plan_remove, plan_weight
from metaserver.domain.pool_state import PoolState
from metaserver.domain.resize import Resize, begun, resize_of, taken_back
from metaserver.domain.resize_move import paced, stage_sources, turned_back
from metaserver.domain.resize_steps import ATTEMPTS, STAY_HOLD, Laggards, hold
from metaserver.loops.resize import Resizer
from metaserver.redis_io.fence import Seen
from metaserver.redis_io.shard_masters import MasterAnswers
from metaserver.store import Store
from tests.support.store_records import (
    actions,
    added,
    create,
    document,
    event,
    failover,
    intent,
)

MASTERS = {"a": "10.0.0.1:6379", "b": "10.0.0.2:6379"}
NEVER = threading.Event()


@pytest.fixture
def store(sqlite_store: Store) -> Store:
    return sqlite_store


@dataclass
class Clients:
    """Clients by id: the version that each has acknowledged."""

    versions: dict[str, int] = field(default_factory=dict)
    expired: set[str] = field(default_factory=set)

    def laggards(self, _pool: str, version: int) -> Laggards:
        late = [each for each, acknowledged in self.versions.items() if acknowledged < version]
        return Laggards(
            tuple(each for each in late if each not in self.expired),
            tuple(each for each in late if each in self.expired),
        )

    def acknowledged(self, _pool: str, version: int) -> frozenset[str]:
        return frozenset(each for each, known in self.versions.items() if known >= version)


@dataclass
class Shards:
    """Shards that do what they are told, and note it."""

    connected: set[str] = field(default_factory=set)
    unclear: dict[str, str] = field(default_factory=dict)
    unfenced: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    unseen: dict[str, str] = field(default_factory=dict)
    unmoved: dict[str, str] = field(default_factory=dict)
    at_once: int = 99
    between: Callable[[], object] = lambda: None

    def clear(self, *_: object) -> dict[str, str]:
        self.done.append("clear")
        return self.unclear

    def look(self, *_: object) -> MasterAnswers[Seen]:
        self.done.append("look")
        seen = Seen(frozenset(self.connected), None, {}, replicas=2)
        given = {shard: seen for shard in MASTERS if shard not in self.unseen}
        return MasterAnswers(given, self.unseen, MASTERS)

    def fence(self, _state: object, _resize: object, version: int, _: object) -> Any:
        self.done.append(f"fence {version}")
        given = {shard: 1 for shard in MASTERS if shard not in self.unfenced}
        return MasterAnswers(given, self.unfenced, MASTERS)

    def move_keys(
        self,
        state: PoolState,
        resize: Resize,
        cancelled: Callable[[], bool],
        source_done: Callable[[str, int], None],
    ) -> dict[str, str]:
        """Move the keys of so many shards as `at_once` says, with something else in between."""
        left = stage_sources(state.document, resize)
        for shard in [each for each in left if each not in self.unmoved][: self.at_once]:
            self.done.append(f"move {shard}")
            self.between()
            source_done(shard, 5)
        return {shard: why for shard, why in self.unmoved.items() if shard in left}


class Run:
    """A resize of the pool "cache" on a store, by one leader after the other."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clients, self.shards = Clients(), Shards()
        self.now = 0.0
        self.another_leader()

    def another_leader(self) -> None:
        """Go on with a leader that knows nothing of what the last one saw and did."""
        self._resizer = Resizer(
            self.store,
            self.clients,
            self.shards,  # type: ignore[arg-type]  # it speaks to no instance
            changed=lambda: None,
            clock=lambda: self.now,
        )

    def begin(self, plan: Any, *intents: int) -> None:
        before = self.store.document("cache")
        assert before is not None
        document = begun(plan, "token:me", "c", {**MASTERS, "c": "10.0.0.3:6379"}, intents)
        assert self.store.put_document(document, before.version, event("begun")) is not None

    def go(self, until: Callable[[], bool] = lambda: False) -> None:
        """Take steps until the resize is over, or the condition true; waits take no time."""
        for _ in range(500):
            wait = self._resizer.step("cache", NEVER)
            if wait is None or until():
                return
            self.now += wait and wait + 0.001
        raise AssertionError("no end")

    @property
    def names(self) -> tuple[str, ...]:
        document = self.store.document("cache")
        assert document is not None
        return document.placement.names

    @property
    def document(self) -> PoolDocument:
        found = self.store.document("cache")
        assert found is not None
        return found

    @property
    def resize(self) -> Resize:
        found = resize_of(self.document)
        assert found is not None
        return found

    def ask(self, after: PoolDocument) -> None:
        """Store what an operator has asked of the resize."""
        assert self.store.put_document(after, self.document.version, event("asked")) is not None

    def pace(self, **pace: Any) -> None:
        self.ask(paced(self.document, self.resize, pace))

    def moves_of(self) -> list[str]:
        """Return the shards whose keys were moved, in this order."""
        return [each for each in self.shards.done if each.startswith("move ")]

    @property
    def state(self) -> str:
        document = self.store.document("cache")
        resize = None if document is None else resize_of(document)
        return "stable" if resize is None else f"{resize.state} {resize.attempt}"


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
    assert (run.state, run.names, run.now) == ("stable", ("a", "b", "c"), 0.0)
    assert run.shards.done == ["look", "move a", "move b"]
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


def test_a_client_that_lags_in_the_second_stage_has_the_first_go_on(store: Store) -> None:
    run = Run(store)
    begin_added(run, create_modula(store))
    run.go(lambda: run.state == "moving 1")
    run.shards.between = lambda: run.clients.versions.update(slow=run.document.version)
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


def test_another_leader_moves_the_keys_of_the_shards_that_are_left(store: Store) -> None:
    run = Run(store)
    begin_added(run, create_modula(store))
    run.shards.at_once = 1
    passed = []
    while run.state != "stable":
        passed.append((run.state, run.resize.stage, len(run.resize.done)))
        before = run.document.version
        run.go(lambda before=before: run.document.version != before)  # type: ignore[misc]
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
    run.clients.versions = {"slow": 1}
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
