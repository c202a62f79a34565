"""The election of the one process, of several on one SQLite file, that runs the background loops.

The leader holds a lock (flock) on FILE.leader. The kernel releases the lock when its holder dies,
however it dies, so nothing outlives a crash.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

from metaserver.store import StorageError


class LeaderElection:
    """This process's part in the election.

    Args:
        path: the lock file, created if need be; on a full disk later, once there is room.

    Raises:
        StorageError: the lock file cannot be created.
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
        """Take the lock if no process has it, and return whether this process leads.

        A leader leads until its process ends.

        Raises:
            StorageError: the lock file cannot be created.
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
        """Wait until this process leads, then call `start` once; return early on `stop`.

        Args:
            every: seconds between two attempts.
        """
        while not stop.is_set():
            if self.try_lead():
                start()
                return
            stop.wait(every)

    def close(self) -> None:
        """Release the lock, so that another process can lead."""
        if self._fd is not None:
            os.close(self._fd)
