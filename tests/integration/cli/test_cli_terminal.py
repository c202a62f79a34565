"""The command on a terminal of its own: its questions, and what follows from the answers."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from cachemesh import CacheMesh
from cachemesh.cli import main as cli
from cachemesh.local import LocalStack
from tests.support.terminal import COMMAND, REPOSITORY, Terminal
from tests.support.waiting import until


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
    remove = ("shard", "remove", "cache-1", "--strategy", "drop")
    until(lambda: plan_of(*remove)["destroys"])
    before = cachemesh_client.topology.document
    terminal = Terminal(*remove)
    terminal.until("Go on? [y/N] ")
    assert "5,461 slots (33.3%)" in terminal.seen
    assert cli.run(["pool", "set", "poll_interval=3"]) == 0
    assert terminal.answer("y\n") == 4
    assert "version" in terminal.seen and "next: " in terminal.seen
    assert cli.run(["pool", "set", "poll_interval="]) == 0
    until(lambda: cachemesh_client.topology.document.version == before.version + 2)
    assert cachemesh_client.topology.document.placement == before.placement
