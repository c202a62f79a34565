"""Identifies a process by pid and start time: another process may get the pid of an ended one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path


def start_time(pid: int) -> str | None:
    """Return an opaque text that tells when a process started; None for no process or a zombie.

    Source: proc(5), field 22 of /proc/PID/stat (clock ticks since boot); without /proc, ps(1),
    column lstart.
    """
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    shown = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    return shown[1].strip() if len(shown) == 2 and not shown[0].startswith("Z") else None


@dataclass(frozen=True)
class ProcessId:
    """One process, told by `started` from a later process with the same pid.

    Attributes:
        pid: the process id.
        started: the start time, as `start_time` gives it.
    """

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """Return the process that has `pid` now, or None if no process has it."""
        started = start_time(pid)
        return None if started is None else cls(pid, started)

    def alive(self) -> bool:
        """Return whether the process runs."""
        return start_time(self.pid) == self.started

    def signal(self, number: int) -> bool:
        """Send a signal; return False if the process has ended.

        Raises:
            PermissionError: the process belongs to another user.
        """
        if not hasattr(os, "pidfd_open"):
            if not self.alive():
                return False
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
                return True
            return False
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            # Checked after the handle was opened: from then on it cannot mean another process.
            if not self.alive():
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True
