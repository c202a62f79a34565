"""The store's contract: one suite, run against every store."""

from __future__ import annotations

import threading

from cachemesh.core.placement import Shard
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.pool_state import NewIntent, NewSweep
from metaserver.store import Store
from tests.support.store_records import actions, added, create, document, event, failover, intent
from tests.support.waiting import until
from tests.unit.conftest import Opener


class TestDocuments:
    def test_nothing_at_first(self, store: Store) -> None:
        assert store.document("cache") is None
        assert store.state("cache") is None
        assert store.documents() == ()
        assert store.versions() == {}
        assert store.next_version("cache") == 1

    def test_created_once(self, store: Store, another: Opener) -> None:
        created = create(store)
        assert created.version == 1
        assert store.create_document(document(), event()) is None
        for each in (store, another()):
            assert each.document("cache") == created
            assert each.versions() == {"cache": 1}
        assert actions(store) == ["pool.create"]

    def test_a_creation_may_begin_at_a_higher_version(self, store: Store) -> None:
        created = store.create_document(document().replace(version=7), event())
        assert created is not None
        assert created.version == 7
        assert store.delete_document("cache", 7, event()) == ()
        assert create(store).version > 7

    def test_every_put_raises_the_version(self, store: Store) -> None:
        before = create(store)
        put = store.put_document(before.replace(settings={"poll_interval": 2}), 1, event("put"))
        assert put is not None
        assert put.version == 2
        assert store.document("cache") == put

    def test_a_put_against_another_version_changes_nothing(self, store: Store) -> None:
        before = create(store)
        sweeps = [NewSweep("a", None)]
        assert store.put_document(before, 7, event("put"), sweeps=sweeps) is None
        assert store.document("cache") == before
        assert store.sweeps() == ()
        assert actions(store) == ["pool.create"]

    def test_a_put_without_a_pool_changes_nothing(self, store: Store) -> None:
        assert store.put_document(document(), 1, event()) is None
        assert store.documents() == ()

    def test_the_version_never_goes_down(self, store: Store) -> None:
        before = create(store)
        store.put_document(before, 1, event())
        assert store.delete_document("cache", 2, event()) == ()
        assert store.document("cache") is None
        again = create(store)
        assert again.version > 2
        assert store.document("cache") == again

    def test_deleted_only_at_the_right_version(self, store: Store) -> None:
        create(store)
        assert store.delete_document("cache", 2, event()) is None
        assert store.delete_document("other", 1, event()) is None
        assert store.versions() == {"cache": 1}

    def test_unknown_fields_are_kept(self, store: Store, another: Opener) -> None:
        future = document().replace(extra={"of_the_future": [1, 2]})
        store.create_document(future, event())
        kept = another().document("cache")
        assert kept is not None
        assert kept.extra == {"of_the_future": [1, 2]}

    def test_of_two_puts_at_once_one_wins(self, store: Store, another: Opener) -> None:
        before = create(store)
        others = [another() for _ in range(4)]
        won: list[PoolDocument | None] = []

        def put(mine: Store) -> None:
            won.append(mine.put_document(before, 1, event()))

        threads = [threading.Thread(target=put, args=(each,)) for each in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len([each for each in won if each is not None]) == 1
        assert store.versions() == {"cache": 2}


class TestEvents:
    def test_newest_first_and_by_pool(self, store: Store) -> None:
        for number in range(5):
            store.record_event(event(f"e{number}", "cache" if number % 2 else "other"))
        assert actions(store) == ["e4", "e3", "e2", "e1", "e0"]
        assert [each.action for each in store.events("cache")] == ["e3", "e1"]
        newest = store.events(limit=1)[0]
        assert store.events(after=newest.id) == []
        assert [each.action for each in store.events(after=newest.id - 2)] == ["e4", "e3"]

    def test_kept_whole(self, store: Store) -> None:
        new = NewEvent("x", "token:t", "p", "s", "why", {"a": 1}, {"a": [2, None]})
        recorded = store.record_event(new)
        assert store.events() == [recorded]
        assert recorded.before == {"a": 1}
        assert recorded.to_dict()["after"] == {"a": [2, None]}
        assert recorded.at.endswith("Z")

    def test_the_marker_tells_of_every_change(self, store: Store, another: Opener) -> None:
        other = another()
        markers = [store.change_marker()]
        create(store)
        markers.append(store.change_marker())
        other.record_event(event())
        until(lambda: store.change_marker() != markers[-1])
        markers.append(store.change_marker())
        assert len(set(markers)) == 3
        store.documents()
        store.check_writable()
        assert store.change_marker() == markers[-1]


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


class TestQuality:
    def test_by_owner_while_it_lives(self, store: Store, another: Opener) -> None:
        store.publish_quality("1:1", {"at": 1}, alive=())
        another().publish_quality("2:2", {"at": 2}, alive={"1:1"})
        store.publish_quality("1:1", {"at": 3}, alive={"2:2"})
        until(lambda: store.published_quality() == {"1:1": {"at": 3}, "2:2": {"at": 2}})
        another().publish_quality("3:3", {}, alive={"1:1"})
        until(lambda: store.published_quality() == {"1:1": {"at": 3}, "3:3": {}})


class TestTokens:
    def test_by_digest_only(self, store: Store) -> None:
        token = store.add_token("ops", "admin", "d1", event("token.create", None))
        assert token is not None
        assert store.token_digests() == {"d1": token}
        assert store.add_token("ops", "read", "d2", event()) is None
        assert store.tokens() == (token,)
        assert [(each.action, each.target) for each in store.events()] == [
            ("token.create", token.id)
        ]

    def test_the_last_admin_stays(self, store: Store) -> None:
        first = store.add_token("one", "admin", "d1", event())
        reader = store.add_token("two", "read", "d2", event())
        assert first is not None
        assert reader is not None
        assert not store.revoke_token(first.id, event("token.revoke"))
        assert not store.revoke_token("nobody", event("token.revoke"))
        assert "token.revoke" not in actions(store)
        assert store.add_token("three", "admin", "d3", event()) is not None
        assert store.revoke_token(first.id, event("token.revoke"))
        assert store.revoke_token(reader.id, event("token.revoke"))
        assert [each.name for each in store.tokens()] == ["three"]

    def test_limits_are_kept(self, store: Store, another: Opener) -> None:
        until = "2030-01-01T00:00:00.000Z"
        for name, pools in (("some", ("cache", "other")), ("none", ())):
            token = store.add_token(name, "read", name, event(), pools=pools, expires=until)
            assert token is not None
            assert (token.pools, token.expires) == (pools, until)
            assert another().token_digests()[name] == token

    def test_only_a_lasting_admin_of_all_pools_has_to_stay(self, store: Store) -> None:
        until = "2030-01-01T00:00:00.000Z"
        lasting = store.add_token("lasting", "admin", "d1", event())
        limited = store.add_token("limited", "admin", "d2", event(), pools=("cache",))
        ending = store.add_token("ending", "admin", "d3", event(), expires=until)
        assert lasting is not None
        assert limited is not None
        assert ending is not None
        assert not store.revoke_token(lasting.id, event())
        assert store.revoke_token(limited.id, event())
        assert store.revoke_token(ending.id, event())

    def test_a_rotated_token_has_two_texts_for_a_while(self, store: Store, another: Opener) -> None:
        token = store.add_token("ops", "admin", "d1", event(), pools=("cache",))
        assert token is not None
        until = "2999-01-01T00:00:00.000Z"
        assert store.rotate_token("nobody", "d9", until, event()) is None
        assert store.rotate_token(token.id, "d2", until, event("token.rotate", None)) == token
        assert store.rotate_token(token.id, "d3", "2999-02-01T00:00:00.000Z", event()) == token
        for each in (store, another()):
            assert each.tokens() == (token,)
            assert each.token_digests() == {"d3": token}
            former = each.former_digests()
            assert {digest: of.expires for digest, of in former.items()} == {
                "d1": until,
                "d2": "2999-02-01T00:00:00.000Z",
            }
            assert {of.id for of in former.values()} == {token.id}
        assert store.revoke_token(token.id, event())
        assert store.former_digests() == {}

    def test_a_former_text_ends_with_its_token(self, store: Store) -> None:
        until = "2030-01-01T00:00:00.000Z"
        token = store.add_token("ops", "read", "d1", event(), expires=until)
        assert token is not None
        assert store.rotate_token(token.id, "d2", "2999-01-01T00:00:00.000Z", event()) == token
        assert store.former_digests()["d1"].expires == until

    def test_last_use(self, store: Store) -> None:
        token = store.add_token("ops", "admin", "d1", event())
        assert token is not None
        store.touch_tokens({token.id: "2026-01-01T00:00:00Z", "gone": "2026-01-01T00:00:00Z"})
        assert store.tokens()[0].last_used == "2026-01-01T00:00:00Z"


def test_close_twice(store: Store) -> None:
    store.close()
    store.close()
