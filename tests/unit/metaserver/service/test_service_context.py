"""Storing a change that was planned before a fence was lifted, which no operator has done."""

from __future__ import annotations

import pytest

from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.errors import RequestRefused
from metaserver.domain.fence_record import FenceRecord, fence_of, with_fence, without_fence
from metaserver.domain.planning import plan_remove, plan_settings
from metaserver.domain.resize import resize_of
from metaserver.service.context import ServiceContext
from metaserver.store import Store
from tests.support.store_records import create, event

FENCE = FenceRecord(1, ("frozen",), {"a": "10.0.0.1:6379"})


def stored(store: Store, document: PoolDocument) -> PoolDocument:
    after = store.put_document(document, document.version, event())
    assert after is not None
    return after


def test_a_change_is_stored_after_a_fence_was_lifted(store: Store, context: ServiceContext) -> None:
    fenced = stored(store, with_fence(create(store), FENCE))
    plan = plan_settings(fenced, {"poll_interval": 2.0})
    lifted = stored(store, without_fence(fenced))
    after = context.replace(plan, event(), {})
    assert after.version == lifted.version + 1
    assert after.settings == {"poll_interval": 2.0}
    assert fence_of(after) is None


def test_a_resize_begins_after_a_fence_was_lifted(store: Store, context: ServiceContext) -> None:
    fenced = stored(store, with_fence(create(store), FENCE))
    plan = plan_remove(fenced, "b")
    stored(store, without_fence(fenced))
    after = context.begin_resize(plan, event(), {})
    assert resize_of(after) is not None
    assert fence_of(after) is None


def test_any_other_change_in_between_is_a_conflict(store: Store, context: ServiceContext) -> None:
    fenced = stored(store, with_fence(create(store), FENCE))
    plan = plan_settings(fenced, {"poll_interval": 2.0})
    stored(store, without_fence(fenced).replace(settings={"poll_interval": 3.0}))
    with pytest.raises(RequestRefused, match="version"):
        context.replace(plan, event(), {})
