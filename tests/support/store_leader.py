"""A process that leads on a store, and writes what it is told to as the leader.

    python -m tests.support.store_leader SESSION_TIMEOUT sqlite FILE
    python -m tests.support.store_leader SESSION_TIMEOUT zookeeper HOSTS CHROOT

It says "leads EPOCH", and answers each line by "written" or by the name of the error.
"""

from __future__ import annotations

import subprocess
import sys
import threading

from metaserver.domain.audit_log import NewEvent
from metaserver.process.identity import process_identity
from metaserver.store import Lead, StorageError
from tests.support.metaserver_process import environment
from tests.support.store_writer import open_store


class LeaderProcess(subprocess.Popen[str]):
    """The test's end of such a process.

    Args:
        session: its session timeout, in seconds.
        where: as `open_store` takes it.
    """

    def __init__(self, session: float, *where: str) -> None:
        command = [sys.executable, "-m", "tests.support.store_leader", str(session), *where]
        pipe = subprocess.PIPE
        super().__init__(command, env=environment(), text=True, stdin=pipe, stdout=pipe)

    def tell(self, line: str) -> None:
        """Have a line written, without waiting for the answer."""
        assert self.stdin is not None
        self.stdin.write(f"{line}\n")
        self.stdin.flush()

    def answer(self) -> str:
        """Wait for the next line of the process."""
        assert self.stdout is not None
        return self.stdout.readline().strip()

    def write(self, line: str) -> str:
        """Have a line written, and return the answer."""
        self.tell(line)
        return self.answer()


def say(answer: str) -> None:
    """Write a line for the test."""
    sys.stdout.write(f"{answer}\n")
    sys.stdout.flush()


def main(session: str, *where: str) -> None:
    """Lead for one term."""
    store = open_store(*where, session_timeout=float(session))
    stop = threading.Event()

    def lead(term: Lead) -> None:
        fenced = store.fenced(term.epoch)
        say(f"leads {term.epoch}")
        for line in sys.stdin:
            try:
                fenced.record_event(NewEvent(line.strip()))
                answer = "written"
            except StorageError as error:
                answer = type(error).__name__
            say(answer)
        stop.set()

    store.election(process_identity()).run(stop, lead)


if __name__ == "__main__":
    main(*sys.argv[1:])
