"""The contract of every store: sweeps, intents, failovers, masters and acknowledged versions."""

from __future__ import annotations

from cachemesh.core.placement import Shard
from metaserver.domain.pool_state import NewIntent, NewSweep
from metaserver.store import Store
from tests.support.store_records import actions, added, create, document, event, failover, intent
from tests.unit.conftest import Opener


class TestSweeps:
    def test_made_with_the_change(self, store: Store) -> None:
        before = create(store)
        sweeps = [NewSweep("a", "10.0.0.1:6379"), NewSweep("b", None, drained=True)]
        store.put_document(before, 1, event(), sweeps=sweeps)
        first, second = store.sweeps("cache")
        assert (first.shard, first.master, first.version) == ("a", "10.0.0.1:6379", 2)
        assert (first.state, first.removed, first.drained) == ("waiting", 0, False)
        assert second.drained
        assert store.sweeps() == (first, second)
        assert store.sweeps("other") == ()
        state = store.state("cache")
        assert state is not None
        assert state.sweeps == (first, second)

    def test_a_later_one_of_the_same_shard_replaces(self, store: Store) -> None:
        before = create(store)
        store.put_document(before, 1, event(), sweeps=[NewSweep("a", None)])
        (old,) = store.sweeps()
        store.put_document(before, 2, event(), sweeps=[NewSweep("a", None, drained=True)])
        (new,) = store.sweeps()
        assert (new.version, new.drained) == (3, True)
        assert not store.update_sweep(old.id, removed=1)
        assert not store.finish_sweep(old.id, event("sweep.done"))
        assert "sweep.done" not in actions(store)

    def test_progress_and_end(self, store: Store) -> None:
        store.put_document(create(store), 1, event(), sweeps=[NewSweep("a", None)])
        (sweep,) = store.sweeps()
        assert store.update_sweep(sweep.id, state="running", removed=5)
        assert store.update_sweep(sweep.id, detail="slow")
        (now,) = store.sweeps()
        assert (now.state, now.removed, now.detail) == ("running", 5, "slow")
        assert store.finish_sweep(sweep.id, event("sweep.done"))
        assert store.sweeps() == ()
        assert not store.finish_sweep(sweep.id, event("sweep.done"))
        assert actions(store).count("sweep.done") == 1

    def test_they_go_with_the_pool(self, store: Store) -> None:
        store.put_document(create(store), 1, event(), sweeps=[NewSweep("a", None)])
        store.delete_document("cache", 2, event())
        assert store.sweeps() == ()


class TestIntents:
    def test_one_at_a_time_per_shard_and_per_master(self, store: Store) -> None:
        first = added(store, intent())
        assert not first.undoing
        assert store.add_intent(intent(master="10.0.0.4:6379")) is None
        assert store.add_intent(intent(shard="d")) is None
        assert store.intents() == (first,)
        assert store.finish_intent(first.id, event("shard.undone"))
        assert not store.finish_intent(first.id, event("shard.undone"))
        assert actions(store) == ["shard.undone"]
        added(store, intent(shard="d"))

    def test_the_change_deletes_it(self, store: Store) -> None:
        before = create(store)
        mine = added(store, intent())
        masters = {"c": "10.0.0.3:6379"}
        assert store.put_document(before, 1, event(), masters=masters, intents=[mine.id])
        assert store.intents() == ()
        assert store.last_master("cache", "c") == "10.0.0.3:6379"

    def test_one_that_is_undone_forbids_the_change(self, store: Store) -> None:
        before = create(store)
        mine = added(store, intent())
        assert store.claim_intent(mine.id)
        assert store.claim_intent(mine.id)
        assert store.put_document(before, 1, event(), intents=[mine.id]) is None
        assert store.create_document(document("x"), event(), intents=[mine.id]) is None
        assert store.versions() == {"cache": 1}
        assert store.finish_intent(mine.id)
        assert not store.claim_intent(mine.id)
        assert store.put_document(before, 1, event(), intents=[mine.id]) is None

    def test_a_deletion_leaves_some_behind(self, store: Store) -> None:
        create(store)
        pending = added(store, intent())
        removing = NewIntent("cache", "a", "", "delete", ("10.0.0.1:26379",), "1:1")
        left = store.delete_document("cache", 1, event(), intents=[removing])
        assert left is not None
        assert [(each.shard, each.undoing) for each in left] == [("a", True)]
        by_shard = {each.shard: each for each in store.intents()}
        assert by_shard["a"] == left[0]
        assert by_shard["c"].id == pending.id
        assert by_shard["c"].undoing


class TestFailovers:
    def test_one_at_a_time_per_shard_of_a_pool(self, store: Store, another: Opener) -> None:
        assert store.begin_failover(failover()) is None
        create(store)
        assert store.begin_failover(failover("z")) is None
        begun = store.begin_failover(failover())
        assert begun is not None
        assert (begun.shard, begun.owner, begun.saved_settings) == ("a", "1:1", {})
        assert another().failovers() == (begun,)
        assert another().begin_failover(failover()) is None
        assert store.begin_failover(failover("b")) is not None

    def test_notes_and_owner(self, store: Store, another: Opener) -> None:
        create(store)
        begun = store.begin_failover(failover())
        assert begun is not None
        assert store.update_failover(begun.id, saved_settings={"leader": "x", "old": {"y": 1}})
        assert store.update_failover(begun.id, owner="")
        (kept,) = another().failovers()
        assert (kept.saved_settings, kept.owner) == ({"leader": "x", "old": {"y": 1}}, "")
        assert not store.update_failover(begun.id + 1, owner="")

    def test_its_end_remembers_the_master(self, store: Store) -> None:
        create(store)
        begun = store.begin_failover(failover())
        assert begun is not None
        assert store.end_failover(begun.id, event("shard.failover"), master="10.0.0.2:6379")
        assert store.last_master("cache", "a") == "10.0.0.2:6379"
        assert store.failovers() == ()
        assert not store.end_failover(begun.id, event("shard.failover"), master="10.0.0.3:6379")
        assert actions(store).count("shard.failover") == 1
        assert store.last_master("cache", "a") == "10.0.0.2:6379"

    def test_nothing_else_is_done_to_the_shard_meanwhile(self, store: Store) -> None:
        before = create(store)
        begun = store.begin_failover(failover())
        assert begun is not None
        assert store.add_intent(intent("a")) is None
        without = before.replace(placement=before.placement.with_shards([Shard("b")]))
        assert store.put_document(without, 1, event()) is None
        assert store.delete_document("cache", 1, event()) is None
        assert store.put_document(before, 1, event()) is not None
        assert store.end_failover(begun.id, event(), master="10.0.0.2:6379")
        assert store.delete_document("cache", 2, event()) is not None

    def test_not_while_something_else_is_done(self, store: Store) -> None:
        create(store)
        added(store, intent("a"))
        assert store.begin_failover(failover()) is None


class TestMasters:
    def test_remembered_per_pool(self, store: Store) -> None:
        create(store)
        create(store, "other")
        store.remember_master("cache", "a", "10.0.0.1:6379")
        store.remember_master("other", "a", "10.0.0.2:6379")
        store.remember_master("cache", "a", "10.0.0.9:6379")
        store.remember_master("nowhere", "a", "10.0.0.2:6379")
        assert store.last_master("cache", "a") == "10.0.0.9:6379"
        assert store.last_masters() == {
            ("cache", "a"): "10.0.0.9:6379",
            ("other", "a"): "10.0.0.2:6379",
        }
        state = store.state("cache")
        assert state is not None
        assert state.masters == {"a": "10.0.0.9:6379"}

    def test_the_same_again_is_no_change(self, store: Store) -> None:
        create(store)
        store.remember_master("cache", "a", "10.0.0.1:6379")
        marker = store.change_marker()
        store.remember_master("cache", "a", "10.0.0.1:6379")
        assert store.change_marker() == marker

    def test_those_of_drained_shards_go_with_the_sweep(self, store: Store) -> None:
        before = create(store)
        store.remember_master("cache", "a", "10.0.0.1:6379")
        store.put_document(before, 1, event(), sweeps=[NewSweep("a", None, drained=True)])
        assert store.last_master("cache", "a") == "10.0.0.1:6379"
        store.finish_sweep(store.sweeps()[0].id, event())
        assert store.last_master("cache", "a") is None


class TestAcknowledgements:
    def test_by_owner(self, store: Store, another: Opener) -> None:
        store.publish_acks("1:1", {"cache": 3})
        another().publish_acks("2:2", {})
        store.publish_acks("1:1", {"cache": 4, "other": 1})
        assert store.acks() == {"1:1": {"cache": 4, "other": 1}, "2:2": {}}
        store.forget_acks("1:1")
        assert store.acks() == {"2:2": {}}
