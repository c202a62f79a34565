"""What is particular to the store in ZooKeeper: its head, what others wrote, what is refused."""

from __future__ import annotations

import signal
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kazoo.client import KazooClient

from cachemesh.discovery import zookeeper_layout as layout
from metaserver.process.config import ZookeeperOptions
from metaserver.store import StorageError
from metaserver.store.zookeeper import ZookeeperStore
from metaserver.store.zookeeper_head import Head, UnreadableHeadError
from tests.support.store_records import actions, create, event
from tests.support.waiting import AT_MOST, until
from tests.support.zookeeper import Ensemble


@pytest.fixture
def options(zookeeper: Ensemble) -> ZookeeperOptions:
    return ZookeeperOptions(zookeeper.hosts, f"/{uuid.uuid4().hex}/deep")


@pytest.fixture
def by_hand(zookeeper: Ensemble) -> Iterator[KazooClient]:
    """A client of ZooKeeper that goes round the store."""
    client = KazooClient(zookeeper.hosts)
    client.start()
    yield client
    client.stop()
    client.close()


PARTS = st.dictionaries(
    st.tuples(st.sampled_from(["pools", "events"]), st.text(max_size=5)),
    st.lists(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=20))),
    min_size=1,
    max_size=3,
)


@given(st.lists(PARTS, max_size=30), st.integers(0, 40))
def test_a_reader_of_the_head_misses_nothing(changes: list[Any], seen: int) -> None:
    head = Head()
    expected: dict[Any, Any] = {}
    for number, parts in enumerate(changes, 1):
        head = head.after(f"change {number}", parts, {"events": number})
        if number > seen:
            expected |= parts
    head = Head.decode(head.encode())
    found = head.since(seen)
    if seen > len(changes):
        assert found is None, "the head is of another history"
        return
    assert found is not None
    assert found.keys() == expected.keys()
    assert all(rows is None or rows == expected[part] for part, rows in found.items())


def test_a_head_that_does_not_go_back_so_far() -> None:
    head = Head()
    for number in range(300):
        head = head.after(str(number), {("pools", "a"): []}, {})
    assert head.since(50) is None
    assert head.since(150) == {("pools", "a"): []}
    big = head.after("big", {("pools", "b"): [{"document": "x" * 100_000}]}, {})
    assert big.since(300) == {("pools", "b"): None}
    assert len(big.encode()) < 100_000


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format": 2}', b"\xff"])
def test_what_is_no_head(data: bytes) -> None:
    with pytest.raises(UnreadableHeadError):
        Head.decode(data)


def test_a_store_that_missed_much_reads_it_all(options: ZookeeperOptions) -> None:
    store = ZookeeperStore(options)
    create(store)
    for number in range(250):
        store.record_event(event(f"e{number}"))
    late = ZookeeperStore(options)
    assert late.events(limit=1000) == store.events(limit=1000)
    assert late.prune_events(keep=3, since="2000-01-01T00:00:00Z") == 248
    until(lambda: actions(store) == ["e249", "e248", "e247"])
    assert late.record_event(event("next")).id == 252
    store.close()
    late.close()


def test_a_chroot_with_something_else_is_refused(
    options: ZookeeperOptions, by_hand: KazooClient
) -> None:
    by_hand.ensure_path(f"{options.chroot}/brokers")
    with pytest.raises(StorageError, match=r"something else already.*another chroot"):
        ZookeeperStore(options)


@pytest.mark.parametrize("path", [layout.HEAD, layout.part_path("lead", "lead")])
def test_nonsense_in_what_every_pool_needs_is_named(
    options: ZookeeperOptions, by_hand: KazooClient, path: str
) -> None:
    store = ZookeeperStore(options)
    created = create(store)
    by_hand.ensure_path(f"{options.chroot}{path}")
    by_hand.set(f"{options.chroot}{path}", b"nonsense")
    with pytest.raises(StorageError, match=rf"{path} cannot be used.*changed by hand"):
        ZookeeperStore(options)
    assert store.document("cache") == created, "who runs already goes on"
    store.close()


def test_nobody_else_may_read_what_a_login_has_made(options: ZookeeperOptions) -> None:
    mine = ZookeeperOptions(options.hosts, options.chroot, login="me:secret-word")
    store = ZookeeperStore(mine)
    create(store)
    assert "secret-word" not in repr(mine) + str(mine)
    with pytest.raises(StorageError, match="access is refused") as refused:
        ZookeeperStore(options)
    assert "secret-word" not in str(refused.value)
    store.close()


def test_an_ensemble_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metaserver.store.zookeeper_session.START", 0.5)
    with pytest.raises(StorageError, match="no answer within"):
        ZookeeperStore(ZookeeperOptions("127.0.0.1:1", "/x"))


def test_a_change_too_large_for_zookeeper_changes_nothing(options: ZookeeperOptions) -> None:
    store = ZookeeperStore(options)
    created = create(store)
    with pytest.raises(StorageError, match=r"more than fits into one transaction"):
        store.put_document(created.replace(extra={"much": "x" * 1_000_000}), 1, event())
    assert store.document("cache") == created
    assert actions(store) == ["pool.create"]
    store.close()


def test_writes_that_wait_for_a_hung_one_are_refused(
    zookeeper: Ensemble, options: ZookeeperOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would wait for all before it otherwise; reads go on, and writes once it answers."""
    store = ZookeeperStore(options)
    created = create(store)
    monkeypatch.setattr("metaserver.store.zookeeper_session.BOUND", 2.0)
    monkeypatch.setattr("metaserver.store.zookeeper_database.BOUND", 0.2)
    refusals: list[str] = []

    def write() -> None:
        try:
            store.record_event(event("hung"))
        except StorageError as error:
            refusals.append(str(error))

    threads = [threading.Thread(target=write) for _ in range(6)]
    zookeeper.servers[0].kill(signal.SIGSTOP)
    try:
        for thread in threads:
            thread.start()
        until(lambda: sum("earlier changes have got no answer" in each for each in refusals) >= 5)
        assert store.document("cache") == created
    finally:
        zookeeper.servers[0].kill(signal.SIGCONT)
    for thread in threads:
        thread.join(AT_MOST)
    assert store.record_event(event("after")).action == "after"
    store.close()
