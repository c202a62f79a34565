"""The pages of `deploy`: the commands of ours that they tell to type exist, and so do the files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cachemesh.cli.main import cachemesh as cli
from tests.support.metaserver_process import ROOT

DEPLOY = ROOT / "deploy"
PAGES = sorted(DEPLOY.rglob("README.md"))


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each `cachemesh` command in the page's shell blocks."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if found := re.search(r"(?<!-n )\bcachemesh(?: --url \S+)? [a-z].*", line):
                yield shlex.split(found[0], comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_commands_exist(page: Path) -> None:
    for words in commands(page):
        command: click.Command = cli
        context = cli.make_context("cachemesh", words[1:])
        while isinstance(command, click.Group):
            name, found, rest = command.resolve_command(context, _after_options(words))
            assert found is not None, shlex.join(words)
            command, words = found, [str(name), *rest]
        command.make_context(words[0], words[1:])  # raises on options that do not exist


def _after_options(words: list[str]) -> list[str]:
    """Return the words after the command's name and the options that stand before a noun."""
    rest = words[1:]
    return rest[2:] if rest[0] == "--url" else rest


def test_there_are_commands_to_look_up() -> None:
    assert sum(1 for page in PAGES for _ in commands(page)) >= 6


def test_each_directory_says_what_its_files_are() -> None:
    for directory in (path for path in DEPLOY.iterdir() if path.is_dir()):
        page = directory / "README.md"
        text = page.read_text(encoding="utf-8")
        for file in directory.iterdir():
            if file != page and not file.name.startswith("."):
                assert file.name in text, f"{page.relative_to(ROOT)} does not name {file.name}"
