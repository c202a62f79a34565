"""The identity of a metaserver process, and whether a process of that identity still runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection
from pathlib import Path


def process_identity(pid: int | None = None) -> str:
    """Return the identity of a process, "host:pid:start time", which no later process shares.

    Args:
        pid: of a process of this machine; None for this process.
    """
    pid = os.getpid() if pid is None else pid
    return f"{_host()}:{pid}:{_started(pid) or 0}"


def process_is_alive(identity: str, elsewhere: Collection[str] = ()) -> bool:
    """Return whether the process of a `process_identity` still runs.

    Args:
        elsewhere: the identities of live processes, as a store knows them. They tell of processes
            of other machines, of which nothing is known without.
    """
    host, _, process = identity.rpartition(":")[0].rpartition(":")
    if host != _host():
        return identity in elsewhere
    return process.isdigit() and _runs(int(process), identity.rpartition(":")[2])


def known_dead(identity: str) -> bool:
    """Return whether the process was one of this machine, and has ended."""
    host = identity.rpartition(":")[0].rpartition(":")[0]
    return host == _host() and not process_is_alive(identity)


def _host() -> str:
    return socket.gethostname()


def _runs(pid: int, started: str) -> bool:
    now = _started(pid)
    if now is None and not Path("/proc/self/stat").exists():
        return _signalable(pid)
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
