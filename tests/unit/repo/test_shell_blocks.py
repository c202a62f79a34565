"""Every shell block of README and docs is run by a test, or says why it is not."""

from __future__ import annotations

import re

import pytest

from tests.support.blocks_elsewhere import ELSEWHERE, elsewhere
from tests.support.python_blocks import ROOT
from tests.support.shell_blocks import all_blocks, missing_lines

BLOCKS = all_blocks()
REASONS = [
    (page, first, why)
    for page, entry in ELSEWHERE.items()
    for first, why in (entry.items() if isinstance(entry, dict) else [("", entry)])
]


def test_there_are_blocks_of_each_kind() -> None:
    here = [block for block in BLOCKS if elsewhere(block) is None]
    assert len(here) >= 10
    assert {block.page for block in here} & {"docs/cli.md", "docs/resizing.md"}


@pytest.mark.parametrize(("page", "first", "why"), REASONS)
def test_what_is_elsewhere_is_there(page: str, first: str, why: str) -> None:
    assert any(each.page == page and each.first.startswith(first) for each in BLOCKS)
    for path in re.findall(r"(?:tests|scripts)/[\w./-]+", why):
        assert (ROOT / path).exists(), path


def test_every_fence_that_names_a_shell_is_found() -> None:
    fences = 0
    for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")]:
        text = path.read_text(encoding="utf-8")
        fences += len(re.findall(r"^ *```(?:sh|console|bash|shell)$", text, re.MULTILINE))
    assert fences == len(BLOCKS)


@pytest.mark.parametrize(
    ("shown", "said", "missing"),
    [
        (["moves      5,461 slots (33.3%)"], "moves  2,730 slots (16.7%)", []),
        (["  1. check 10.0.0.4:6379: ..."], "x\n  1. check 127.0.0.1:6001: empty", []),
        (["a", "...", "c"], "a\nb\nc", []),
        (["c", "a"], "a\nc", ["a"]),
        (["done: 1 s"], "done: later", ["done: 1 s"]),
        (["takes 610 ms"], "takes 1.2 s", []),
        (["takes  750 ms (750 ms to 760 ms)"], "takes  410 ms", []),
        (["takes  410 ms"], "takes  1.2 s (1.1 s to 1.2 s)", []),
    ],
)
def test_output_is_compared_but_for_figures(
    shown: list[str], said: str, missing: list[str]
) -> None:
    assert missing_lines(tuple(shown), said) == missing
