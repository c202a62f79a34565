"""What a leader that is paused past its session has to be refused, on any store."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from metaserver.process.identity import process_identity
from metaserver.store import Lead, Store
from tests.support.process_cleanup import ending
from tests.support.store_leader import LeaderProcess
from tests.support.store_records import actions
from tests.support.store_writer import open_store
from tests.support.waiting import AT_MOST, until

SESSION = 4.0  # seconds; a shorter one is lost where the machine is busy


def what_it_writes_late_is_refused(*where: str) -> None:
    """Pause a leader until another one leads on the store, as `open_store` takes it; then go on."""
    store = open_store(*where, session_timeout=SESSION)
    paused = LeaderProcess(SESSION, *where)
    with ending(paused):
        assert paused.answer().startswith("leads")
        assert paused.write("in time") == "written"
        paused.send_signal(signal.SIGSTOP)
        with leading(store) as terms:
            until(lambda: terms)
            paused.tell("late")
            paused.send_signal(signal.SIGCONT)
            assert paused.answer() in ("LostLeadError", "ZookeeperUnavailableError", "UnsureError")
            until(lambda: paused.write("later") == "LostLeadError")
            assert actions(store) == ["in time"]
            leader = store.election(process_identity()).leader()
            assert leader is not None
            assert (leader.owner, leader.epoch) == (process_identity(), terms[0].epoch)
    store.close()


@contextmanager
def leading(store: Store) -> Iterator[list[Lead]]:
    """Take part in the election for the block; the list gets the term once it is won."""
    terms: list[Lead] = []
    stop = threading.Event()

    def lead(term: Lead) -> None:
        terms.append(term)
        stop.wait()

    mine = store.election(process_identity())
    thread = threading.Thread(target=mine.run, args=(stop, lead))
    thread.start()
    try:
        yield terms
    finally:
        stop.set()
        thread.join(AT_MOST)
