"""The store's contract for events that are posted to URLs."""

from __future__ import annotations

from metaserver.store import Store
from tests.support.store_records import event
from tests.support.waiting import until
from tests.unit.conftest import Opener


def test_events_are_read_on_from_the_last_one_that_was_taken(store: Store) -> None:
    ids = [store.record_event(event(f"e{number}")).id for number in range(5)]
    assert [each.action for each in store.next_events(0, limit=3)] == ["e0", "e1", "e2"]
    assert [each.action for each in store.next_events(ids[2], limit=3)] == ["e3", "e4"]
    assert store.next_events(ids[-1], limit=3) == []
    store.prune_events(keep=1, since="0001-01-01T00:00:00.000Z")
    assert [each.id for each in store.next_events(ids[0], limit=3)] == ids[-1:]


def test_the_newest_id_counts_also_once_all_events_are_deleted(
    store: Store, another: Opener
) -> None:
    newest = [store.record_event(event(name)).id for name in "abc"][-1]
    assert store.prune_events(keep=9, since="9999-01-01T00:00:00.000Z") >= 3
    assert store.newest_event_id() == newest
    until(lambda: another().newest_event_id() == newest)


def test_another_process_goes_on_there(store: Store, another: Opener) -> None:
    assert store.webhook_position("here") is None
    for position in (7, 8):
        store.keep_webhook_position("here", position)
    store.keep_webhook_position("there", 3)
    until(lambda: another().webhook_position("there") == 3)
    assert another().webhook_position("here") == 8
