"""`cachemesh` run as a user runs it, in processes, and what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import AT_MOST

COMMAND = [sys.executable, "-m", "cachemesh_command"]
SMALL = ["--shards", "1", "--sentinels", "1", "--metaservers", "0"]
Start = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def end(up: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the exit code, and stderr since the start was complete."""
    _, said = up.communicate(timeout=AT_MOST)
    return up.returncode, said


def wait_ready(up: subprocess.Popen[str]) -> None:
    """Wait until `cachemesh up` in the foreground says that its stack is ready."""
    assert up.stderr is not None
    for line in up.stderr:
        if line.startswith("ready"):
            return
    pytest.fail("`cachemesh up` ended before it was ready")


def described(place: Path) -> list[str]:
    """Return the path of the description of a stack in a directory, if there is one."""
    return [str(path) for path in place.glob("stack.json")]


def stack_status(run: Run, place: Path) -> dict[str, Any]:
    """Return what `cachemesh status` says, as JSON."""
    found: dict[str, Any] = json.loads(run("status", "--dir", place, "-o", "json").stdout)
    return found


def check_states(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the state of each check that the doctor has reported as JSON, by name."""
    report = json.loads(done.stdout)
    found = {check["name"]: check["state"] for check in report["checks"]}
    assert done.returncode == (5 if "fail" in found.values() else 0)
    assert report["healthy"] == (done.returncode == 0)
    assert all(check["next_step"] for check in report["checks"] if check["state"] != "ok")
    return found
