"""The command on a terminal of its own: what it asks, and what comes of the answer."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cachemesh import CacheMesh
from cachemesh.cli import main as cli
from cachemesh.local import LocalStack
from tests.waiting import AT_MOST, until

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "cachemesh.cli.main"]


@pytest.fixture
def here(cachemesh_stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool of the test session, in the command's environment."""
    for name, value in cachemesh_stack.info["env"].items():
        monkeypatch.setenv(name, value)


def plan_of(*arguments: str) -> Any:
    done = subprocess.run(
        [*COMMAND, *arguments, "--dry-run", "-o", "json"], capture_output=True, cwd=REPOSITORY
    )
    assert done.returncode == 6, done.stderr
    return json.loads(done.stdout)


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self._leader, follower = pty.openpty()
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env={**os.environ, "TERM": "dumb", "COLUMNS": "100"},
            cwd=REPOSITORY,
        )
        os.close(follower)
        self.seen = ""

    def until(self, text: str) -> None:
        while text not in self.seen:
            try:
                data = os.read(self._leader, 4096)
            except OSError:
                data = b""
            assert data, f"it ended before it said {text!r}: {self.seen}"
            self.seen += data.decode()

    def answer(self, text: str) -> int:
        """Exit code after an answer; an empty one is Ctrl-C."""
        if text:
            os.write(self._leader, text.encode())
        else:
            self.process.send_signal(signal.SIGINT)
        while True:
            try:
                self.seen += os.read(self._leader, 4096).decode()
            except OSError:  # Linux: the other side of the terminal is closed
                os.close(self._leader)
                return self.process.wait(AT_MOST)


def test_it_asks(here: None, cachemesh_client: CacheMesh) -> None:
    for answer, code, left in (("n\n", 1, 1), ("\n", 1, 1), ("", 130, 1), ("y\n", 0, 0)):
        cachemesh_client.set("asked", 1)
        terminal = Terminal("key", "del", "asked")
        terminal.until("Go on? [y/N] ")
        assert "destroys: key asked" in terminal.seen
        assert terminal.answer(answer) == code, terminal.seen
        assert cachemesh_client.exists("asked") == left
        assert "Traceback" not in terminal.seen


def test_the_confirmed_change_is_the_planned_one(here: None, cachemesh_client: CacheMesh) -> None:
    for number in range(100):
        cachemesh_client.set(f"key:{number}", number)
    until(lambda: plan_of("shard", "remove", "cache-1")["destroys"])
    before = cachemesh_client.topology.document
    terminal = Terminal("shard", "remove", "cache-1")
    terminal.until("Go on? [y/N] ")
    assert "5,461 slots (33.3%)" in terminal.seen
    assert cli.run(["pool", "set", "poll_interval=3"]) == 0
    assert terminal.answer("y\n") == 4
    assert "version" in terminal.seen and "next: " in terminal.seen
    assert cli.run(["pool", "set", "poll_interval="]) == 0
    until(lambda: cachemesh_client.topology.document.version == before.version + 2)
    assert cachemesh_client.topology.document.placement == before.placement
