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
from kazoo.client import KazooClient, KazooState

from cachemesh.discovery import zookeeper_layout as layout
from metaserver.process.config import ZookeeperOptions
from metaserver.store import Lead, StorageError, UnsureError
from metaserver.store.zookeeper import ZookeeperStore
from metaserver.store.zookeeper_head import Head, UnreadableHeadError
from metaserver.store.zookeeper_parts import StoredParts
from metaserver.store.zookeeper_session import NoAnswerError, ZookeeperSession
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
    st.lists(st.dictionaries(st.sampled_from("ab"), st.integers(0, 9)), max_size=2),
    min_size=1,
    max_size=3,
)


@given(st.lists(PARTS, max_size=12), st.integers(0, 16))
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
    assert head.since(200) == {("pools", "a"): []}
    big = head.after("big", {("pools", "b"): [{"document": "x" * 100_000}]}, {})
    assert big.since(300) == {("pools", "b"): None}
    assert len(big.encode()) < 100_000


def test_a_head_stays_small() -> None:
    """ZooKeeper logs it whole with each change, and keeps the last 500 changes in memory."""
    head = Head()
    for number in range(300):
        document, row = [{"document": "x" * 2000}], [{"detail": "y" * 500}]
        head = head.after(
            f"{number:032}", {("pools", "a"): document, ("events", str(number)): row}, {}
        )
    assert len(head.encode()) < 40_000
    missed = head.since(290)
    assert missed is not None
    assert None not in missed.values(), "what was just written is told"


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


def test_a_store_opens_while_another_one_writes_all_the_time(
    options: ZookeeperOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = ZookeeperStore(options)
    created = create(writer)
    read = StoredParts.read

    def meanwhile(self: StoredParts, parts: Any) -> Any:
        found = read(self, parts)
        if self is not writer._shared._stored:
            writer.record_event(event("meanwhile"))
        return found

    monkeypatch.setattr(StoredParts, "read", meanwhile)
    late = ZookeeperStore(options)
    monkeypatch.undo()
    assert late.document("cache") == created
    until(lambda: actions(late) == actions(writer))
    assert "meanwhile" in actions(late)
    for store in (writer, late):
        store.close()


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


def test_a_change_without_an_answer_is_not_told_as_refused(
    zookeeper: Ensemble, options: ZookeeperOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ZooKeeper has the request, and carries it out as soon as it goes on."""
    store = ZookeeperStore(options)
    created = create(store)
    monkeypatch.setattr("metaserver.store.zookeeper_session.BOUND", 0.3)
    monkeypatch.setattr("metaserver.store.zookeeper_database._UNSURE_FOR", 0.3)
    commit = ZookeeperSession.commit

    def stops(self: ZookeeperSession, transaction: Any) -> Any:
        zookeeper.servers[0].kill(signal.SIGSTOP)
        return commit(self, transaction)

    monkeypatch.setattr(ZookeeperSession, "commit", stops)
    try:
        with pytest.raises(UnsureError, match="look whether the change was made"):
            store.put_document(created, 1, event("put"))
    finally:
        zookeeper.servers[0].kill(signal.SIGCONT)
    until(lambda: store.versions() == {"cache": 2})
    assert actions(store) == ["put", "pool.create"]
    store.close()


def test_a_change_without_an_answer_that_the_head_tells_no_more_of(
    options: ZookeeperOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it was made cannot be told any more, so it is not made again."""
    store, other = ZookeeperStore(options), ZookeeperStore(options)
    create(store)
    commit = ZookeeperSession.commit

    def no_answer(self: ZookeeperSession, transaction: Any) -> Any:
        found = commit(self, transaction)
        if self is not store._shared.session:
            return found
        monkeypatch.undo()
        for number in range(210):
            other.record_event(event(f"later {number}"))
        raise NoAnswerError("ZooKeeper: no answer")

    monkeypatch.setattr(ZookeeperSession, "commit", no_answer)
    with pytest.raises(UnsureError):
        store.record_event(event("once"))
    assert [each.action for each in other.events(limit=1000)].count("once") == 1
    for each in (store, other):
        each.close()


def test_a_term_that_could_not_be_ended_is_in_nobodys_way(
    options: ZookeeperOptions, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection was doubtful, and the session goes on: its znode of the leader stays."""
    store = ZookeeperStore(options)
    terms: list[Lead] = []
    stop = threading.Event()

    def lead(term: Lead) -> None:
        terms.append(term)
        term.lost.wait()

    mine, session = store.election("me:1"), store._shared.session
    thread = threading.Thread(target=mine.run, args=(stop, lead), daemon=True)
    thread.start()
    until(lambda: terms)
    session._changed(KazooState.SUSPENDED)
    until(lambda: "giving the lead away" in caplog.text)
    session._changed(KazooState.CONNECTED)
    until(lambda: len(terms) == 2)
    assert terms[1].epoch > terms[0].epoch
    stop.set()
    terms[1].lost.set()
    thread.join(AT_MOST)
    store.close()
