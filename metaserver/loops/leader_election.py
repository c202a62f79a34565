"""Which of several metaserver processes on one SQLite file runs the background loops.

The lock is `flock` on FILE.leader: the kernel lets go of it when its holder dies, however it
dies, so nothing persistent can outlive a crash.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

from metaserver.store import StorageError


class Leader:
    """The candidacy of this process; `path` is the lock file, made if need be.

    On a full disk it is made later, once there is room.

    Raises:
        StorageError: the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self.is_leader = False
        self._open()

    def _open(self) -> int | None:
        if self._fd is None:
            try:
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    return None
                raise StorageError(
                    f"Lock file {self._path}: {error.strerror}; check that its directory can be "
                    "written"
                ) from error
        return self._fd

    def try_lead(self) -> bool:
        """Take the lock if nobody has it; True once this process has it, until it ends.

        Raises:
            StorageError: the lock file cannot be made.
        """
        if not self.is_leader:
            fd = self._open()
            if fd is None:
                return False
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self.is_leader = True
        return True

    def lead(self, stop: threading.Event, start: Callable[[], None], every: float = 0.5) -> None:
        """Wait until this process leads, then call `start` once; returns early on `stop`."""
        while not stop.is_set():
            if self.try_lead():
                start()
                return
            stop.wait(every)

    def close(self) -> None:
        """Let another process lead."""
        if self._fd is not None:
            os.close(self._fd)


def process_identity() -> str:
    """This process, told apart from a later one with the same pid: "pid:start time"."""
    pid = os.getpid()
    return f"{pid}:{_started(pid) or 0}"


def process_is_alive(identity: str) -> bool:
    """Whether the process of a `process_identity` on this machine still runs."""
    pid, _, started = identity.partition(":")
    if not pid.isdigit():
        return False
    now = _started(int(pid))
    if now is None and not Path("/proc/self/stat").exists():
        return _signalable(int(pid))
    return now is not None and str(now) == started


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (proc(5)); None if it is no more."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command name, in parentheses, may itself hold spaces and parentheses.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])


def _signalable(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
