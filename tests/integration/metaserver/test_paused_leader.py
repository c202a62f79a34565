"""A leader that is paused past its session: what it writes when it goes on is refused."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

from metaserver.process.identity import process_identity
from metaserver.store import Lead
from metaserver.store.sqlite import SqliteStore
from tests.support.metaserver_process import environment
from tests.support.process_cleanup import ending
from tests.support.store_records import actions
from tests.support.waiting import AT_MOST, until

SESSION = 1.0  # seconds

LEADER = """
import sys, threading
from pathlib import Path
from metaserver.domain.audit_log import NewEvent
from metaserver.process.identity import process_identity
from metaserver.store import StorageError
from metaserver.store.sqlite import SqliteStore

store = SqliteStore(Path(sys.argv[1]), float(sys.argv[2]))
stop = threading.Event()

def lead(term):
    fenced = store.fenced(term.epoch)
    print("leads", term.epoch, flush=True)
    for line in sys.stdin:
        try:
            fenced.record_event(NewEvent(line.strip()))
            print("written", flush=True)
        except StorageError as error:
            print(type(error).__name__, flush=True)
            break
    term.lost.wait()
    print("lost", flush=True)
    stop.set()

store.election(process_identity()).run(stop, lead)
"""


def test_what_it_writes_late_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "meta.db"
    store = SqliteStore(path, SESSION)
    command = [sys.executable, "-c", LEADER, str(path), str(SESSION)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environment(), text=True, stdin=pipe, stdout=pipe)
    with ending(process) as paused:
        assert paused.stdin is not None
        assert paused.stdout is not None

        def ask(line: str) -> None:
            assert paused.stdin is not None
            paused.stdin.write(f"{line}\n")
            paused.stdin.flush()

        assert paused.stdout.readline() == "leads 1\n"
        ask("in time")
        assert paused.stdout.readline() == "written\n"
        paused.send_signal(signal.SIGSTOP)
        terms: list[Lead] = []
        stop = threading.Event()

        def lead(term: Lead) -> None:
            terms.append(term)
            stop.wait()

        mine = store.election(process_identity())
        thread = threading.Thread(target=mine.run, args=(stop, lead))
        thread.start()
        try:
            until(lambda: terms)
            ask("late")
            paused.send_signal(signal.SIGCONT)
            assert paused.stdout.readline() == "LostLeadError\n"
            assert paused.stdout.readline() == "lost\n"
            assert actions(store) == ["in time"]
            leader = mine.leader()
            assert leader is not None
            assert (leader.owner, leader.epoch) == (process_identity(), terms[0].epoch)
        finally:
            stop.set()
            thread.join(AT_MOST)
    store.close()
