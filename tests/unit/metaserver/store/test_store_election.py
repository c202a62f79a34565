"""The store's contract: which process leads, and what it may still write afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from queue import Empty, SimpleQueue

import pytest

from metaserver.process.identity import process_identity
from metaserver.store import Lead, LostLeadError, Store
from tests.support.store_records import actions, create, event
from tests.support.waiting import AT_MOST, until
from tests.unit.conftest import Opener


class Candidate:
    """A process's part in the election, on a thread; its terms end when the test says so."""

    def __init__(self, store: Store, owner: str) -> None:
        self.store = store
        self.election = store.election(owner)
        self.terms: SimpleQueue[Lead] = SimpleQueue()
        self.enough = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.election.run, args=(self._stop, self._lead))

    def _lead(self, lead: Lead) -> None:
        self.terms.put(lead)
        until(lambda: lead.lost.is_set() or self.enough.is_set() or self._stop.is_set())

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join(AT_MOST)
        assert not self._thread.is_alive()


@pytest.fixture
def candidates(another: Opener) -> Iterator[list[Candidate]]:
    found = [Candidate(another(), f"elsewhere:{number}:1") for number in range(2)]
    with ExitStack() as running:
        for candidate in found:
            running.enter_context(candidate.running())
        yield found


def test_one_leads_until_it_gives_the_lead_away(store: Store, candidates: list[Candidate]) -> None:
    leading = until(lambda: [each for each in candidates if not each.terms.empty()])
    (first,) = leading
    (second,) = [each for each in candidates if each is not first]
    term = first.terms.get(timeout=AT_MOST)
    owner = f"elsewhere:{candidates.index(first)}:1"
    for election in (first.election, second.election, store.election("elsewhere:9:1")):
        leader = until(election.leader)  # a store of several machines hears of it a little later
        assert (leader.owner, leader.epoch) == (owner, term.epoch)
        assert leader.since.endswith("Z")
    with pytest.raises(Empty):
        second.terms.get(timeout=0.3)
    first.enough.set()
    later = second.terms.get(timeout=AT_MOST)
    assert later.epoch > term.epoch
    assert term.lost.is_set()
    assert not later.lost.is_set()


def test_a_term_that_is_over_writes_nothing(candidates: list[Candidate]) -> None:
    first = until(lambda: [each for each in candidates if not each.terms.empty()])[0]
    second = next(each for each in candidates if each is not first)
    store = first.store
    before = store.fenced(first.terms.get(timeout=AT_MOST).epoch)
    created = create(before)
    before.record_event(event("in time"))
    first.enough.set()
    after = second.store.fenced(second.terms.get(timeout=AT_MOST).epoch)
    put = created.replace(settings={"poll_interval": 2})
    writes = (
        lambda: before.record_event(event("late")),
        lambda: before.put_document(put, 1, event("late")),
        lambda: before.publish_acks("1:1", {"cache": 1}),
        lambda: before.prune_events(keep=1, since="2000-01-01T00:00:00Z"),
        before.check_writable,
    )
    for write in writes:
        with pytest.raises(LostLeadError):
            write()
    assert before.document("cache") == created, "it may still read"
    assert actions(store) == ["in time", "pool.create"]
    assert store.acks() == {}
    assert after.put_document(put, 1, event("put")) is not None
    store.record_event(event("of any process"))
    assert actions(store) == ["of any process", "put", "in time", "pool.create"]


def test_the_lead_is_free_at_once_when_the_process_stops(another: Opener) -> None:
    epochs = []
    for number in range(3):
        candidate = Candidate(another(), f"elsewhere:{number}:1")
        with candidate.running():
            term = candidate.terms.get(timeout=AT_MOST)
            epochs.append(term.epoch)
        assert term.lost.is_set()
        assert candidate.election.leader() is None
    assert epochs == sorted(set(epochs))


def test_the_processes_on_a_store(store: Store, another: Opener) -> None:
    assert store.metaservers() == ()
    mine = process_identity()
    store.register(mine, "10.0.0.1:7700")
    other = another()
    other.register("elsewhere:7:1", "10.0.0.2:7700")
    other.register("elsewhere:7:1", "10.0.0.3:7700")
    expected = [(mine, "10.0.0.1:7700"), ("elsewhere:7:1", "10.0.0.3:7700")]
    until(lambda: all(registered(each) == expected for each in (store, other)))


def registered(store: Store) -> list[tuple[str, str]]:
    return [(each.owner, each.address) for each in store.metaservers()]
