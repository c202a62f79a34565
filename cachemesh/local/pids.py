"""A process by pid and start time, so that a recycled pid is never taken for the old process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path


def start_time(pid: int) -> str | None:
    """When `pid` started, as an opaque text; None when there is no such process (or a zombie).

    Linux: field 22 of /proc/PID/stat, in clock ticks since boot (proc(5)). Elsewhere: ps's lstart.
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
    """One process for good: `started` tells it from a later one with the same pid."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The process that has `pid` now, None if there is none."""
        started = start_time(pid)
        return None if started is None else cls(pid, started)

    def alive(self) -> bool:
        return start_time(self.pid) == self.started

    def signal(self, number: int) -> bool:
        """Send a signal; False when the process is gone. Raises PermissionError."""
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
            # Looked at after the handle was opened: the handle cannot come to mean another process.
            if not self.alive():
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True
