"""Commands run as a user runs them, in a directory that nothing may be left in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli_processes import COMMAND, Run, Start, described
from tests.support.process_cleanup import end_left
from tests.support.process_leaks import processes_below
from tests.support.waiting import AT_MOST


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory for a stack; the fixture checks that none of its processes outlives the test."""
    directory = tmp_path / "stack"
    yield directory
    if described(directory):  # the test failed before it stopped its stack
        down = [*COMMAND, "down", "--dir", str(directory)]
        subprocess.run(down, capture_output=True, timeout=AT_MOST, check=False)
    assert end_left(lambda: processes_below(directory)) == []


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs one command to its end; state without --dir goes to the test's own directory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    for name in ("CACHEMESH_URL", "CACHEMESH_TOKEN", "CACHEMESH_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)

    def command(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=AT_MOST,
            env={**os.environ, **env},
            check=False,
        )

    return command


@pytest.fixture
def start(place: Path) -> Iterator[Start]:
    """Starts `cachemesh up` in the foreground, through another program if one is given."""
    started: list[subprocess.Popen[str]] = []

    def command(*arguments: str, through: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [*through, *COMMAND, "up", "--dir", str(place), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield command
    for up in started:
        up.kill()
        up.communicate()
