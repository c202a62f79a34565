"""The tour of README in a shell of its own, word for word: a stack comes up, is worked on, ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process_cleanup import end_left
from tests.support.process_leaks import processes_below
from tests.support.python_blocks import ROOT
from tests.support.shell_blocks import Shell, ShellBlock, shell_blocks

ACTIVATE = ". .venv/bin/activate"  # the tests' own environment is in use already


@pytest.fixture
def blocks() -> dict[str, ShellBlock]:
    return {block.first: block for block in shell_blocks(ROOT / "README.md")}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    assert end_left(lambda: processes_below(tmp_path)) == []


def test_the_tour(blocks: dict[str, ShellBlock], home: Path) -> None:
    assert list(blocks) == ["scripts/demo", ACTIVATE, "cachemesh pool status"]
    newcomer = Shell(home, {}, {ACTIVATE: "true"})
    said = newcomer.run(blocks[ACTIVATE])
    pasted = dict(re.findall(r"^export (\w+)=(\S+)$", said, re.MULTILINE))
    Shell(home, pasted, {}).run(blocks["cachemesh pool status"])
