"""The identity of a metaserver process, and whether a process of that identity still runs."""

from __future__ import annotations

import os
from pathlib import Path


def process_identity() -> str:
    """Return this process's identity, "pid:start time", which no later process shares."""
    pid = os.getpid()
    return f"{pid}:{_started(pid) or 0}"


def process_is_alive(identity: str) -> bool:
    """Return whether the process of a `process_identity` on this machine still runs."""
    pid, _, started = identity.partition(":")
    if not pid.isdigit():
        return False
    now = _started(int(pid))
    if now is None and not Path("/proc/self/stat").exists():
        return _signalable(int(pid))
    return now is not None and str(now) == started


def _started(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot (proc(5)); None if it has ended."""
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
