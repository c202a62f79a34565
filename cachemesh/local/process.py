"""One process of a local stack: the reaper starts it; it can be killed, paused and restarted."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cachemesh.core.errors import LocalStackError
from cachemesh.core.names import Address
from cachemesh.local.pids import start_time
from cachemesh.local.reaper_client import ReaperClient

# These signals go to a process and everything below it; all others go to the process alone, which
# passes them on as it sees fit (gunicorn stops its workers on SIGTERM).
_WHOLE_GROUP = (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT)
_LAST_LINES = 12


@dataclass
class Process:
    """One process of a local stack.

    Attributes:
        name: unique within the stack.
        kind: "redis", "sentinel", "metaserver", "dashboard" or "zookeeper".
        address: where the process listens.
        argv: its command line.
        log: the file that takes its output.
        cwd: its working directory.
        env: its environment.
        probe: returns None when the process at an address answers, else what is missing.
        reaper: starts the process and sends its signals.
        pid: its process id; 0 before `spawn`.
        started: its start time, as `pids.start_time` gives it; "" before `spawn`.
    """

    name: str
    kind: str
    address: Address
    argv: list[str]
    log: Path
    cwd: Path
    env: dict[str, str] = field(repr=False)
    probe: Callable[[Address], str | None] = field(repr=False)
    reaper: ReaperClient = field(repr=False)
    pid: int = 0
    started: str = ""

    def spawn(self) -> None:
        """Start the process without waiting until it answers. Raises LocalStackError."""
        reply = self.reaper.order(
            op="spawn", argv=self.argv, env=self.env, cwd=str(self.cwd), log=str(self.log)
        )
        self.pid = int(reply["pid"])
        self.started = start_time(self.pid) or ""

    def poll(self) -> int | None:
        """Return the exit code (-N: ended by signal N), or None while the process runs."""
        code: int | None = self.reaper.order(op="poll", pid=self.pid)["code"]
        return code

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; after SIGKILL wait until the process has ended."""
        self.reaper.order(
            op="signal", pid=self.pid, signal=int(number), group=number in _WHOLE_GROUP
        )
        if number == signal.SIGKILL:
            self.wait()

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): its connections stay open and nothing answers."""
        self.kill(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT)."""
        self.kill(signal.SIGCONT)

    def wait(self, timeout: float = 60.0) -> int:
        """Wait for the end of the process and return its exit code.

        Raises:
            LocalStackError: the process still runs after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise LocalStackError(f"{self} still runs after {timeout:g} s")
            time.sleep(0.01)
        return code

    def restart(self, timeout: float = 120.0) -> None:
        """Kill the process if it runs, start it at the same address, wait until it answers.

        Raises:
            LocalStackError: the process does not answer within `timeout` seconds.
        """
        self.kill(signal.SIGKILL)
        self.spawn()
        await_ready([self], timeout)

    def missing(self) -> str | None:
        """Return what keeps the process from being ready, or None when it answers."""
        return self.probe(self.address)

    def last_lines(self) -> str:
        """Return the end of the log, for an error message."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        except OSError as error:
            return f"  (no log: {error})"
        return "\n".join(f"  {line}" for line in lines) or "  (its log is empty)"

    def __str__(self) -> str:
        return f"{self.name} ({self.address}, pid {self.pid})"


def await_ready(processes: Sequence[Process], timeout: float) -> None:
    """Wait until all processes answer.

    Raises:
        ProcessEndedError: a process has ended.
        LocalStackError: a process does not answer within `timeout` seconds; the message shows the
            end of its log.
    """
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
        """Return whether another process took the port after it was found free."""
        return "in use" in self.process.last_lines().lower()
