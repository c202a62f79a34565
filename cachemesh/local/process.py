"""Processes of a local stack: started through the keeper, killed, paused and restarted."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cachemesh.core.errors import LocalStackError
from cachemesh.core.names import Address
from cachemesh.local import reaper as keeper_program

from .pids import ProcessId, start_time

# These mean a process with everything below it; the others go to the process alone, which
# passes them on as it sees fit (gunicorn stops its workers on SIGTERM).
_WHOLE_GROUP = (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT)
_LAST_LINES = 12


class Keeper:
    """Our end of the keeper process; see `cachemesh.local.reaper`. Threads may share it."""

    def __init__(self, remove: Path | None = None, holds: Sequence[int] = ()) -> None:
        """`remove`: a directory it deletes at its end; `holds`: descriptors it keeps open."""
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._orders, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", keeper_program.__file__, str(os.getpid())),
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
        """Have one order carried out. Raises LocalStackError if it fails or the keeper is gone."""
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
                    "the local stack's keeper process is gone, and its processes with it; "
                    "start the stack again"
                ) from error
        if "error" in reply:
            raise LocalStackError(reply["error"])
        return reply

    def running(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """Kill every process that is left and wait until the keeper has ended."""
        with contextlib.suppress(OSError):
            self._orders.shutdown(socket.SHUT_RDWR)
        self._replies.close()
        self._orders.close()
        self._process.wait()


@dataclass
class Process:
    """One process of the stack. `kind`: redis, sentinel, metaserver, dashboard or zookeeper."""

    name: str
    kind: str
    address: Address
    argv: list[str]
    log: Path
    cwd: Path
    env: dict[str, str] = field(repr=False)
    probe: Callable[[Address], str | None] = field(repr=False)
    keeper: Keeper = field(repr=False)
    pid: int = 0
    started: str = ""  # when, as `pids.start_time` says

    def spawn(self) -> None:
        """Start it, without waiting until it answers. Raises LocalStackError."""
        reply = self.keeper.order(
            op="spawn", argv=self.argv, env=self.env, cwd=str(self.cwd), log=str(self.log)
        )
        self.pid = int(reply["pid"])
        self.started = start_time(self.pid) or ""

    def poll(self) -> int | None:
        """The exit code (negative: the signal that ended it), None while it runs."""
        code: int | None = self.keeper.order(op="poll", pid=self.pid)["code"]
        return code

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; with SIGKILL wait until the process is gone."""
        self.keeper.order(
            op="signal", pid=self.pid, signal=int(number), group=number in _WHOLE_GROUP
        )
        if number == signal.SIGKILL:
            self.wait()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing answers."""
        self.kill(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT)."""
        self.kill(signal.SIGCONT)

    def wait(self, timeout: float = 10.0) -> int:
        """Its exit code once it has ended. Raises LocalStackError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise LocalStackError(f"{self} still runs after {timeout:g} s")
            time.sleep(0.01)
        return code

    def restart(self, timeout: float = 20.0) -> None:
        """Kill it if it runs, start it at the same address, wait until it answers."""
        self.kill(signal.SIGKILL)
        self.spawn()
        await_ready([self], timeout)

    def missing(self) -> str | None:
        """What keeps it from being ready, None when it answers."""
        return self.probe(self.address)

    def last_lines(self) -> str:
        """The end of its log, for an error message."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        except OSError as error:
            return f"  (no log: {error})"
        return "\n".join(f"  {line}" for line in lines) or "  (its log is empty)"

    def __str__(self) -> str:
        return f"{self.name} ({self.address}, pid {self.pid})"


def await_ready(processes: Sequence[Process], timeout: float) -> None:
    """Wait until all answer. Raises LocalStackError with the log of the first that does not."""
    deadline = time.monotonic() + timeout
    waiting = list(processes)
    while waiting:
        for process in list(waiting):
            missing = process.missing()
            code = process.poll()
            if code is not None:
                raise ProcessEndedError(process, code)
            if missing is None:
                waiting.remove(process)
            elif time.monotonic() > deadline:
                raise LocalStackError(
                    f"{process} is not ready after {timeout:g} s: {missing}; "
                    f"see its log {process.log}:\n{process.last_lines()}"
                )
        if waiting:
            time.sleep(0.02)


class ProcessEndedError(LocalStackError):
    """A process that should be serving has ended."""

    def __init__(self, process: Process, code: int) -> None:
        self.process = process
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        super().__init__(f"{process} {how}; see its log {process.log}:\n{process.last_lines()}")

    def lost_its_port(self) -> bool:
        """Whether somebody else took the port between our look and its bind."""
        return "in use" in self.process.last_lines().lower()
