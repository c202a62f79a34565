"""Starts the reaper process (`cachemesh.local.reaper`) and sends it orders."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cachemesh.core.errors import LocalStackError
from cachemesh.local import reaper as reaper_program
from cachemesh.local.pids import ProcessId


class ReaperClient:
    """The connection to a reaper process that this object has started. Threads may share it.

    Args:
        remove: a directory that the reaper deletes when it ends; None: none.
        holds: file descriptors that the reaper keeps open until it ends, such as that of a lock.

    Attributes:
        id: the reaper process; None if it ended at once.
    """

    def __init__(self, remove: Path | None = None, holds: Sequence[int] = ()) -> None:
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._orders, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", reaper_program.__file__, str(os.getpid())),
                    *([str(remove)] if remove else []),
                ],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=holds,
            )
        self._replies = self._orders.makefile("rb")
        self.id = ProcessId.of(self._process.pid)

    def order(self, **order: Any) -> dict[str, Any]:
        """Send one order and return the reaper's reply.

        Args:
            order: the fields of the order, as `cachemesh.local.reaper` lists them, without "id".

        Raises:
            LocalStackError: the reaper could not carry out the order, or has ended.
        """
        with self._lock:
            # An interrupted call leaves its reply unread: numbers tell whose a reply is.
            number = next(self._ids)
            try:
                self._orders.sendall(json.dumps({"id": number, **order}).encode() + b"\n")
                while line := self._replies.readline():
                    reply: dict[str, Any] = json.loads(line)
                    if reply.pop("id") == number:
                        break
                else:
                    raise ConnectionResetError("closed")
            except OSError as error:
                raise LocalStackError(
                    "the local stack's reaper process is gone, and its processes with it; "
                    "start the stack again"
                ) from error
        if "error" in reply:
            raise LocalStackError(reply["error"])
        return reply

    def running(self) -> bool:
        """Return whether the reaper process still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """Have the reaper kill every process that is left, and wait until the reaper has ended."""
        with contextlib.suppress(OSError):
            self._orders.shutdown(socket.SHUT_RDWR)
        self._replies.close()
        self._orders.close()
        self._process.wait()
