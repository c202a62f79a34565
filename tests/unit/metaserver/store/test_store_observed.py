"""The store's contract for the monitor: work, reported state, the bound of the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metaserver.domain.pool_state import JOINING_SECONDS, ReportedState
from metaserver.store import Store
from tests.support.store_records import actions, create, document, event, failover
from tests.support.waiting import until
from tests.unit.conftest import Opener

FOREVER = "0001-01-01T00:00:00.000Z"
SEEN = ReportedState({"a": True}, {"a": {"10.0.0.1:6379": True}}, {"10.0.0.9:26379": False})


def work_of(store: Store) -> dict[str, str]:
    state = store.state("cache")
    assert state is not None
    return {shard: work.kind for shard, work in state.work.items()}


def pool_without_work(store: Store) -> None:
    """Create a pool without any work on its shards."""
    create(store)
    state = store.state("cache")
    assert state is not None
    for work in state.work.values():
        store.end_work(work.id)


class TestWork:
    def test_new_shards_join(self, store: Store, another: Opener) -> None:
        before = create(store)
        state = another().state("cache")
        assert state is not None
        assert {w.shard: w.kind for w in state.work.values()} == {"a": "joining", "b": "joining"}
        assert {work.within for work in state.work.values()} == {JOINING_SECONDS}
        store.end_work(state.work["a"].id)
        store.end_work(state.work["a"].id)
        wider = before.replace(placement=document("cache", "a", "b", "c").placement)
        assert store.put_document(wider, 1, event()) is not None
        assert work_of(store) == {"b": "joining", "c": "joining"}

    def test_a_shard_that_a_resize_will_add_joins_already(self, store: Store) -> None:
        pool_without_work(store)
        before = store.document("cache")
        assert before is not None
        assert store.put_document(before, 1, event(), joining=["c"]) is not None
        assert work_of(store) == {"c": "joining"}

    def test_it_goes_with_the_shard_and_with_the_pool(self, store: Store) -> None:
        before = create(store)
        narrower = before.replace(placement=document("cache", "a").placement)
        assert store.put_document(narrower, 1, event()) is not None
        assert work_of(store) == {"a": "joining"}
        assert store.delete_document("cache", 2, event()) is not None
        create(store)
        assert work_of(store) == {"a": "joining", "b": "joining"}

    def test_a_failover_is_work_until_it_is_ended_and_seen(self, store: Store) -> None:
        pool_without_work(store)
        begun = store.begin_failover(failover(), within=12.5)
        assert begun is not None
        state = store.state("cache")
        assert state is not None
        assert state.failovers == {"a": begun}
        assert (state.work["a"].kind, state.work["a"].within) == ("failing over", 12.5)
        assert store.end_failover(begun.id, event(), master="10.0.0.2:6379")
        assert work_of(store) == {"a": "failing over"}, "replicas still follow the new master"
        store.end_work(state.work["a"].id)
        assert work_of(store) == {}

    def test_a_failover_that_was_undone_is_no_work_any_more(self, store: Store) -> None:
        pool_without_work(store)
        begun = store.begin_failover(failover())
        assert begun is not None
        assert store.end_failover(begun.id, event(), master=begun.master)
        assert work_of(store) == {}

    def test_the_next_work_of_a_shard_is_another(self, store: Store) -> None:
        create(store)
        first = store.state("cache")
        assert store.begin_failover(failover()) is not None
        second = store.state("cache")
        assert first is not None
        assert second is not None
        assert first.work["a"].id != second.work["a"].id
        store.end_work(first.work["a"].id)
        assert work_of(store)["a"] == "failing over"


class TestReports:
    def test_events_and_what_they_told_go_together(self, store: Store, another: Opener) -> None:
        create(store)
        assert store.reported_state("cache") is None
        store.report("cache", SEEN, [event("one"), event("two")])
        assert another().reported_state("cache") == SEEN
        assert actions(store)[:2] == ["two", "one"]

    def test_nothing_without_the_pool(self, store: Store) -> None:
        store.report("cache", SEEN, [event("one")])
        assert store.reported_state("cache") is None
        assert actions(store) == []

    def test_it_goes_with_the_pool(self, store: Store) -> None:
        create(store)
        store.report("cache", SEEN, [])
        store.delete_document("cache", 1, event())
        create(store)
        assert store.reported_state("cache") is None


class TestPruning:
    def test_the_newest_stay(self, store: Store) -> None:
        for number in range(10):
            store.record_event(event(f"e{number}"))
        assert store.prune_events(keep=10, since=FOREVER) == 0
        assert store.prune_events(keep=4, since=FOREVER) == 6
        assert actions(store) == ["e9", "e8", "e7", "e6"]
        assert store.prune_events(keep=4, since=FOREVER) == 0

    def test_the_old_go(self, store: Store) -> None:
        old, young = (store.record_event(event(name)) for name in ("old", "young"))
        assert store.prune_events(keep=100, since=old.at) == 0
        if old.at < young.at:
            assert store.prune_events(keep=100, since=young.at) == 1
        assert store.prune_events(keep=100, since="9999-01-01T00:00:00.000Z") >= 1
        assert actions(store) == []
        assert store.prune_events(keep=100, since="9999-01-01T00:00:00.000Z") == 0

    def test_a_few_at_a_time(self, store: Store) -> None:
        for number in range(7):
            store.record_event(event(f"e{number}"))
        assert [store.prune_events(keep=1, since=FOREVER, at_most=4) for _ in range(3)] == [4, 2, 0]
        assert actions(store) == ["e6"]

    def test_a_place_in_the_log_stays_valid(self, store: Store, another: Opener) -> None:
        """A reader that goes on from an id misses no remaining event, and reads none twice."""
        ids = [store.record_event(event(f"e{number}")).id for number in range(5)]
        store.prune_events(keep=0, since=FOREVER)
        assert store.events(after=ids[1]) == []
        later = another().record_event(event("later"))
        assert later.id > ids[-1], "no id is given out twice"
        until(lambda: store.events())
        for place in (0, ids[1], ids[-1]):
            assert [each.action for each in store.events(after=place)] == ["later"]


class TestProgress:
    def test_the_last_one_is_part_of_the_state(self, store: Store, another: Opener) -> None:
        create(store)
        assert progress_of(store) is None
        for moved in (1, 2):
            store.publish_progress("cache", {"moved": moved})
        until(lambda: progress_of(another()) == {"moved": 2})

    def test_it_goes_with_the_pool(self, store: Store) -> None:
        store.publish_progress("cache", {"moved": 1})
        create(store)
        assert progress_of(store) is None
        store.publish_progress("cache", {"moved": 1})
        assert store.delete_document("cache", 1, event()) is not None
        create(store)
        assert progress_of(store) is None


def progress_of(store: Store) -> Mapping[str, Any] | None:
    state = store.state("cache")
    assert state is not None
    return state.progress
