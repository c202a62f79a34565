"""Stops a stack from another process, for `cachemesh down`."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

from cachemesh.core.errors import LocalStackError
from cachemesh.local.pids import ProcessId
from cachemesh.local.state import StateDirectory

_STOP_WITHIN = 20.0  # seconds for the owner to stop its stack
_KILL_WITHIN = 15.0  # seconds for the reaper to kill it


def shut_down(path: Path) -> bool:
    """Stop the stack in a directory, even if some of its processes have been killed.

    Returns:
        True if the stack was running; False if only its stack.json had been left behind.

    Raises:
        NoStackError: the directory holds no stack.
        LocalStackError: the stack belongs to another user, or does not stop.
    """
    directory = StateDirectory(path)
    running = directory.in_use()
    description = directory.description()
    owner = _process_id(description.get("owner"))
    reaper = _process_id(description.get("reaper"))
    for target, number, timeout in (
        (owner, signal.SIGTERM, _STOP_WITHIN),
        (reaper, signal.SIGTERM, _KILL_WITHIN),
        (owner, signal.SIGKILL, _KILL_WITHIN),
    ):
        if not directory.in_use():
            break
        if target is not None and _signal(target, number, path):
            directory.wait_unused(timeout)
    if directory.in_use():
        raise LocalStackError(f"the stack in {path} does not stop; see {path / 'logs'}")
    for process in description["processes"]:
        _kill_rest(_process_id(process))
    directory.forget()
    return running


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
    """Kill a process that outlived its reaper, where the kernel does not kill it (not Linux)."""
    if process is not None and process.alive():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
