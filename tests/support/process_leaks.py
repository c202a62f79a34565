"""Finds processes that should have ended, for tests. Without /proc it finds none."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cachemesh.local.reaper import PR_SET_CHILD_SUBREAPER

# Python's own helper lives until its process ends.
_EXPECTED = "multiprocessing.resource_tracker"


def adopt_orphans() -> None:
    """Make this process the parent of orphaned descendants, so that `descendants` sees them."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants() -> list[str]:
    """Return the live children of this process, and theirs, as lines "pid command line"."""
    parents = {}
    for process in _others():
        state, parent = (_read(process / "stat").rpartition(b")")[2].split() or [b"Z", b"0"])[:2]
        if state not in (b"Z", b"X"):
            parents[process.name] = parent.decode()
    found = {str(os.getpid())}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    shown = [_shown(Path("/proc") / pid) for pid in sorted(found & parents.keys(), key=int)]
    return [line for line in shown if _EXPECTED not in line]


def processes_below(directory: Path) -> list[str]:
    """Return the processes with a working directory in `directory` or with its path in their argv.

    Args:
        directory: a stack's state directory.

    Returns:
        A line "pid command line" for each.
    """
    wanted = directory.resolve()
    found = []
    for process in _others():
        try:
            at = (process / "cwd").readlink()
        except OSError:
            continue
        if at.is_relative_to(wanted) or os.fsencode(wanted) in _read(process / "cmdline"):
            found.append(_shown(process))
    return found


def await_none(find: Callable[[], list[str]], timeout: float) -> list[str]:
    """Wait up to `timeout` seconds until `find` returns no line; return its last lines."""
    deadline = time.monotonic() + timeout
    while (left := find()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _others() -> Iterator[Path]:
    own = str(os.getpid())
    return (path for path in Path("/proc").glob("[0-9]*") if path.name != own)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has just ended, or belongs to another user
        return b""


def _shown(process: Path) -> str:
    words = _read(process / "cmdline").replace(b"\0", b" ").decode(errors="replace")
    return f"{process.name} {words.strip()[:120]}"
