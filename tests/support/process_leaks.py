"""Processes that should be gone: found in /proc, and none found where there is no /proc."""

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
    """Become the parent of descendants that lose theirs, so that `descendants` finds them."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants() -> list[str]:
    """Return the live descendants of this process, each as "pid command line"."""
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
    """Return the processes that work in a directory, or name it on their command line."""
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
    """Return what `find` still finds after ``timeout`` seconds; stop once it finds nothing."""
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
    except OSError:  # it ended while we looked, or is another user's
        return b""


def _shown(process: Path) -> str:
    words = _read(process / "cmdline").replace(b"\0", b" ").decode(errors="replace")
    return f"{process.name} {words.strip()[:120]}"
