"""Clients that are ahead of the store: how often all others hold their commands for that."""

from __future__ import annotations

from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.backup import Backup, PoolBackup
from metaserver.domain.resize import finished, resize_of, sweeps_after
from metaserver.service.ahead import raise_above
from metaserver.service.backup import restore
from metaserver.service.context import ServiceContext
from metaserver.store import Store
from tests.support.store_records import create, event


def found(store: Store) -> PoolDocument:
    document = store.document("cache")
    assert document is not None
    return document


def end_hold(store: Store) -> None:
    document = found(store)
    resize = resize_of(document)
    assert resize is not None
    after = finished(document, resize, None)
    assert store.put_document(after, document.version, event()) is not None


def test_all_hold_until_all_act_on_the_document(store: Store, context: ServiceContext) -> None:
    before = create(store)
    assert raise_above(context, "cache", 7, "c") == 8
    state = store.state("cache")
    assert state is not None
    resize = resize_of(state.document)
    assert resize is not None
    assert resize.stays
    assert [sweep.drained for sweep in sweeps_after(state, resize)] == [False, False]
    assert raise_above(context, "cache", 20, "d") == 8, "one hold after the other"
    end_hold(store)
    assert found(store).placement == before.placement
    assert raise_above(context, "cache", 20, "d") == 21


def test_a_client_that_tells_wrong_numbers_holds_the_others_three_times_a_minute(
    store: Store, context: ServiceContext
) -> None:
    create(store)
    for _ in range(3):
        raise_above(context, "cache", found(store).version + 1, "c")
        end_hold(store)
    version = found(store).version
    assert raise_above(context, "cache", version + 1, "c") == version + 2
    assert resize_of(found(store)) is None


def test_a_restored_pool_has_no_resize(store: Store, context: ServiceContext) -> None:
    create(store)
    raise_above(context, "cache", 7, "c")
    saved = found(store)
    assert resize_of(saved) is not None
    assert store.delete_document("cache", saved.version, event()) is not None
    backup = Backup("2026-01-01T00:00:00.000Z", (PoolBackup(saved, {}),), ())
    (item,) = restore(context, "somebody", backup)
    assert item.outcome == "restored"
    assert resize_of(found(store)) is None
    assert found(store).migrating is None
