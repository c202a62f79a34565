"""The contract of every store: pool documents, the audit log, what apps feel."""

from __future__ import annotations

import threading

from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.audit_log import EventFilter, NewEvent
from metaserver.domain.pool_state import NewSweep
from metaserver.store import Store
from tests.support.store_records import actions, create, document, event
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
        older = store.events(before=newest.id, limit=2)
        assert [each.action for each in older] == ["e3", "e2"]
        assert store.events(after=newest.id - 1, before=newest.id + 1) == [newest]

    def test_what_is_asked_for(self, store: Store) -> None:
        store.record_event(NewEvent("shard.add", "token:anna", "cache", "cache-1", "weight 2"))
        store.record_event(NewEvent("shard.down", "system", "cache", "cache-10", "no answer"))
        replica = {"shard": "cache-1"}
        replica_down = NewEvent("replica.down", "system", "cache", "h:1", "", None, replica)
        at = store.record_event(replica_down).at
        store.record_event(NewEvent("sharding", "system", None, "x", "50%"))

        def found(pool: str | None = None, **only: str) -> list[str]:
            return [each.action for each in store.events(pool, only=EventFilter(**only))]

        assert found(shard="cache-1") == ["replica.down", "shard.add"]
        assert found(shard="cache-1", action="replica") == ["replica.down"]
        assert found(action="shard") == ["shard.down", "shard.add"]
        assert found(action="shard.down") == ["shard.down"]
        assert found(text="ANNA") == ["shard.add"]
        assert found(text="%") == ["sharding"]
        assert found("cache", text="no a") == ["shard.down"]
        assert found("other", text="no a") == []
        assert "replica.down" in found(since=at)
        assert len(found(since=at[:10])) == 4  # the day
        assert "replica.down" in found(since=f"{at[:19]}Z")  # the second
        assert found(since="2999-01-01") == []

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


class TestQuality:
    def test_by_owner_while_it_lives(self, store: Store, another: Opener) -> None:
        store.publish_quality("1:1", {"at": 1}, alive=())
        another().publish_quality("2:2", {"at": 2}, alive={"1:1"})
        store.publish_quality("1:1", {"at": 3}, alive={"2:2"})
        until(lambda: store.published_quality() == {"1:1": {"at": 3}, "2:2": {"at": 2}})
        another().publish_quality("3:3", {}, alive={"1:1"})
        until(lambda: store.published_quality() == {"1:1": {"at": 3}, "3:3": {}})


def test_close_twice(store: Store) -> None:
    store.close()
    store.close()
