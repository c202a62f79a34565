"""Stopping a stack from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from cachemesh.core.errors import LocalStackError
from cachemesh.local.pids import ProcessId
from cachemesh.local.state import StateDirectory

_STOP_WITHIN = 20.0  # seconds for the owner to stop its stack
_KILL_WITHIN = 15.0  # seconds for the keeper to kill it


class NoStackError(LocalStackError):
    """There is no stack in the directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"no stack in {directory}; start one with `cachemesh up --dir {directory}`, "
            "or name another directory with --dir"
        )


def take_down(path: Path) -> bool:
    """Stop the stack in a directory, however much of it is left.

    Returns:
        Whether it was running; False when only its description had been left behind.

    Raises:
        NoStackError: there is none.
        LocalStackError: it cannot be stopped.
    """
    directory = StateDirectory(path)
    running = directory.in_use()
    description = description_of(directory, running)
    for who, number, patience in (
        ("owner", signal.SIGTERM, _STOP_WITHIN),
        ("keeper", signal.SIGTERM, _KILL_WITHIN),
        ("owner", signal.SIGKILL, _KILL_WITHIN),
    ):
        if not directory.in_use():
            break
        target = _process_id(description.get(who))
        if target is not None and _signal(target, number, path):
            directory.wait_unused(patience)
    if directory.in_use():
        raise LocalStackError(f"the stack in {path} does not stop; see {path / 'logs'}")
    for process in description["processes"]:
        _kill_rest(_process_id(process))
    directory.forget()
    return running


def description_of(directory: StateDirectory, running: bool) -> dict[str, Any]:
    """What the stack in a directory has written about itself. Raises NoStackError."""
    deadline = time.monotonic() + 2.0
    while (found := directory.read()) is None:
        # A stack that has just begun to start holds the lock and is about to describe itself.
        if not running or time.monotonic() > deadline:
            raise NoStackError(directory.path)
        time.sleep(0.05)
    return found


def _process_id(saved: dict[str, Any] | None) -> ProcessId | None:
    return None if saved is None else ProcessId(int(saved["pid"]), str(saved["started"]))


def _signal(target: ProcessId, number: int, path: Path) -> bool:
    try:
        return target.signal(number)
    except PermissionError as error:
        raise LocalStackError(
            f"the stack in {path} belongs to another user (pid {target.pid}); "
            "run `cachemesh down` as that user"
        ) from error


def _kill_rest(process: ProcessId | None) -> None:
    """End a process whose keeper was killed where the kernel does not end it by itself."""
    if process is not None and process.alive():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
