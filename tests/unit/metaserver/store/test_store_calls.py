"""The store's contract: calls with an idempotency key, each of which changes something once."""

from __future__ import annotations

import pytest

from metaserver.store import CallId, CallTakenOverError, RecordedCall, Store
from tests.support.store_records import actions, create, document, event, intent
from tests.unit.conftest import Opener

CALL = CallId("token-1", "key-1")
ONE, TWO = "elsewhere:1:1", "elsewhere:2:1"


def test_a_change_marks_its_call(store: Store, another: Opener) -> None:
    assert store.begin_call(CALL, "r", ONE) is None
    assert another().begin_call(CALL, "r", TWO) == RecordedCall(
        "r", ONE, False, None, None, None, None
    )
    calling = store.calling(CALL, ONE)
    assert calling.add_intent(intent()) is not None, "which logs no event"
    assert not recorded(store).changed
    created = calling.create_document(document(), event("pool.create"))
    assert created is not None
    found = recorded(another())
    assert found.changed
    assert found.event == store.events(limit=1)[0]
    assert (found.version, found.status) == (1, None)
    put = calling.put_document(created, 1, event("put"))
    assert put is not None
    found = recorded(store)
    assert found.event is not None
    assert (found.event.action, found.version) == ("put", 2)
    store.end_call(CALL, ONE, 201, "the answer")
    found = recorded(store)
    assert (found.status, found.answer, found.version) == (201, "the answer", 2)


def recorded(store: Store) -> RecordedCall:
    found = store.begin_call(CALL, "other", TWO)
    assert found is not None
    return found


def test_a_call_without_a_change_is_forgotten(store: Store) -> None:
    assert store.begin_call(CALL, "r", ONE) is None
    store.end_call(CALL, ONE, 409, "refused")
    assert store.begin_call(CALL, "r", TWO) is None


def test_a_call_is_taken_over_before_its_change_or_not_at_all(store: Store) -> None:
    created = create(store)
    store.begin_call(CALL, "r", ONE)
    assert not store.take_call(CALL, TWO, "elsewhere:3:1")
    assert not store.take_call(CallId("token-1", "other"), TWO, ONE)
    assert store.take_call(CALL, TWO, ONE)
    with pytest.raises(CallTakenOverError):
        store.calling(CALL, ONE).put_document(created, 1, event("late"))
    store.end_call(CALL, ONE, 503, "late")
    assert store.versions() == {"cache": 1}
    assert actions(store) == ["pool.create"]
    assert store.calling(CALL, TWO).put_document(created, 1, event("put")) is not None
    assert not store.take_call(CALL, ONE, TWO)
    assert recorded(store).status is None


def test_a_key_belongs_to_its_token(store: Store) -> None:
    assert store.begin_call(CALL, "r", ONE) is None
    assert store.begin_call(CallId("token-2", "key-1"), "r", ONE) is None
