"""A znode that was changed by hand harms what it is about, is named, and can be put right."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest
from kazoo.client import KazooClient

from cachemesh.discovery import zookeeper_layout as layout
from metaserver.process.config import ZookeeperOptions
from metaserver.service.backup import take
from metaserver.store import DamagedPoolError
from metaserver.store.zookeeper import ZookeeperStore
from metaserver.store.zookeeper_database import ZookeeperDatabase
from tests.support.service_context import context_of
from tests.support.store_records import actions, create, document, event
from tests.support.waiting import until
from tests.support.zookeeper import Ensemble

PATH = layout.pool_path("cache")


@pytest.fixture
def options(zookeeper: Ensemble) -> ZookeeperOptions:
    return ZookeeperOptions(zookeeper.hosts, f"/{uuid.uuid4().hex}")


@pytest.fixture
def by_hand(zookeeper: Ensemble, options: ZookeeperOptions) -> Iterator[KazooClient]:
    """A client of ZooKeeper that goes round the store."""
    client = KazooClient(f"{zookeeper.hosts}{options.chroot}")
    client.start()
    yield client
    client.stop()
    client.close()


def rows(**changes: object) -> bytes:
    good = {"name": "cache", "version": 1, "document": document("cache").to_json()}
    return json.dumps([{**good, **changes}]).encode()


NONSENSE = {
    "bytes": (b"\xff\0", "no JSON of rows"),
    "nothing": (b"", "no JSON of rows"),
    "no rows": (b"[]", "not one row"),
    "another pool's": (rows(name="other"), "not one row"),
    "a text for a number": (rows(version="9"), "no number"),
    "a number for a text": (rows(document=1), "no pool document"),
    "a document that is none": (rows(document="{}"), "no pool document"),
    "another version": (rows(version=9), "it holds version 1"),
}


@pytest.mark.parametrize(("data", "reason"), NONSENSE.values(), ids=NONSENSE)
def test_a_pool_is_harmed_alone_and_can_be_restored(
    options: ZookeeperOptions,
    by_hand: KazooClient,
    data: bytes,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("metaserver.store.zookeeper_database._LOOK_EVERY", 0.1)
    first = ZookeeperStore(options)
    create(first)
    other = create(first, "other")
    before, _stat = by_hand.get(PATH)
    by_hand.set(PATH, data)
    store = ZookeeperStore(options)
    again = ZookeeperStore(options)
    try:
        assert store.documents() == (other,)
        for ask in (store.document, store.state):
            with pytest.raises(DamagedPoolError, match=rf"'cache'.*{PATH}.*{reason}.*put back"):
                ask("cache")
        assert first.document("cache") is not None, "who runs already goes on"
        assert store.put_document(other, 1, event()) is not None
        assert actions(again).count("store.damaged") == 1

        by_hand.set(PATH, before)
        until(lambda: "cache" in again.versions())
        by_hand.set(PATH, data)
        late = ZookeeperStore(options)
        restored = late.create_document(document("cache"), event("pool.restore", "cache"))
        late.close()
        assert restored is not None
        assert restored.version > 1
        until(lambda: first.document("cache") == again.document("cache") == restored)
    finally:
        for each in (first, store, again):
            each.close()


@pytest.mark.parametrize("table", ["events", "tokens", "masters", "seen"])
def test_an_entry_of_another_table_is_left_out(
    options: ZookeeperOptions, by_hand: KazooClient, table: str
) -> None:
    store = ZookeeperStore(options)
    created = create(store)
    path = layout.part_path(table, "cache")
    if by_hand.exists(path) is None:
        by_hand.create(path)
    by_hand.set(path, b'[{"id": {}, "pool": 3}]')
    late = ZookeeperStore(options)
    assert late.documents() == (created,)
    assert [each.target for each in late.events() if each.action == "store.damaged"] == [path]
    late.close()
    store.close()


def test_no_backup_is_taken_without_it(options: ZookeeperOptions, by_hand: KazooClient) -> None:
    first = ZookeeperStore(options)
    create(first)
    by_hand.set(PATH, b"nonsense")
    store = ZookeeperStore(options)
    assert list(store.damaged_pools()) == ["cache"]
    with pytest.raises(DamagedPoolError, match="cannot be used"):
        take(context_of(store))
    for each in (first, store):
        each.close()


def test_its_version_is_known_also_when_it_is_removed(
    options: ZookeeperOptions, by_hand: KazooClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaserver.store.zookeeper_database._LOOK_EVERY", 0.1)
    looks, look = list[ZookeeperDatabase](), ZookeeperDatabase._look_at_damaged

    def noted(database: ZookeeperDatabase) -> None:
        look(database)
        looks.append(database)

    monkeypatch.setattr(ZookeeperDatabase, "_look_at_damaged", noted)
    first = ZookeeperStore(options)
    create(first)
    by_hand.set(PATH, rows(version=9))
    store = ZookeeperStore(options)
    by_hand.delete(PATH)
    looked = len(looks)
    until(lambda: looks[looked:].count(store._shared) >= 2)
    assert store.next_version("cache") == 10
    for each in (first, store):
        each.close()
