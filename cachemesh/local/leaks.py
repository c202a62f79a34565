"""Finding processes that should be gone; for tests. Needs /proc, and finds none without it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def processes_marked(mark: str) -> list[str]:
    """Processes with the environment entry `mark` ("NAME=value"), as "pid command line"."""
    wanted = mark.encode()
    return [
        _shown(process)
        for process in _others()
        if wanted in _read(process / "environ").split(b"\0")
    ]


def processes_below(directory: Path) -> list[str]:
    """Processes whose command line or working directory names `directory` (a stack's)."""
    wanted = str(directory).encode()
    found = []
    for process in _others():
        try:
            at = str((process / "cwd").readlink())
        except OSError:
            at = ""
        if at == str(directory) or wanted in _read(process / "cmdline"):
            found.append(_shown(process))
    return found


def await_none(find: Callable[[], list[str]], timeout: float) -> list[str]:
    """What `find` still finds after at most `timeout` seconds; empty as soon as it finds none."""
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
