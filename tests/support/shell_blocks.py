"""The shell blocks of README and docs: what they tell to type, and what they say comes out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.python_blocks import PAGES, ROOT
from tests.support.waiting import AT_MOST

_BLOCK = re.compile(r"^( *)```(console|sh)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+:\d+")
# Figures differ from run to run: numbers, with their unit where it follows.
_FIGURE = re.compile(r"-?\d[\d,.]*(?: ?(?:[KMGT]i?B|B|ms|us|s|%)(?![a-z]))?")
# Bounds are told where they differ from the figure, once both are rounded.
_BOUNDS = re.compile(r" \(# to #\)")
_KEPT = ("LANG", "PYTHONPYCACHEPREFIX", "TMPDIR", "CACHEMESH_PORTS", "CACHEMESH_REDIS_SERVER")
_ENDS_AT_A_FAILURE = """set -uo pipefail
trap 'code=$?; case $code in %s) ;; *) exit $code ;; esac' ERR"""
_UNHEALTHY, _WOULD_CHANGE = 5, 6  # exit codes of the CLI that are no failure of a command
_RULE = re.compile(r"[─━╺╸]+")


@dataclass(frozen=True)
class Typed:
    """A command, and the lines that the page shows below it."""

    command: str
    output: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShellBlock:
    """A block of a page.

    Attributes:
        page: its path in the repository.
        line: where the block begins, counted from 1.
        typed: commands with their output, of a block with prompts; else all of it as one.
    """

    page: str
    line: int
    typed: tuple[Typed, ...]

    @property
    def first(self) -> str:
        """The first line, without a comment, by which tests name the block."""
        return self.typed[0].command.splitlines()[0].split("  #")[0].rstrip(" \\")


def shell_blocks(page: Path) -> Iterator[ShellBlock]:
    """Yield the blocks of a page, in its order."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        indent, language, body = found.groups()
        lines = [line.removeprefix(indent) for line in body.splitlines()]
        typed = _prompted(lines) if language == "console" else (Typed("\n".join(lines)),)
        line = text[: found.start()].count("\n") + 1
        yield ShellBlock(str(page.relative_to(ROOT)), line, typed)


def all_blocks() -> list[ShellBlock]:
    """Return the blocks of README, docs and deploy."""
    return [block for page in PAGES for block in shell_blocks(page)]


def _prompted(lines: list[str]) -> tuple[Typed, ...]:
    found: list[tuple[list[str], list[str]]] = []
    for line in lines:
        if line.startswith("$ "):
            found.append(([line[2:]], []))
        elif not found[-1][1] and found[-1][0][-1].endswith("\\"):
            found[-1][0].append(line)
        else:
            found[-1][1].append(line)
    return tuple(Typed("\n".join(command), tuple(output)) for command, output in found)


@dataclass(frozen=True)
class Shell:
    """Where blocks are run.

    Args:
        directory: the working directory, and the home.
        environment: variables beside those that every process needs.
        stand_for: text of the docs -> what it is here, such as an address.
        unwell: whether commands may find the pool unhealthy, and exit with 5.
    """

    directory: Path
    environment: Mapping[str, str]
    stand_for: Mapping[str, str]
    unwell: bool = False

    def run(self, block: ShellBlock) -> str:
        """Type what a block tells, each command in a bash of its own; return all that came out.

        Raises:
            AssertionError: a command fails, or says something else than the page.
        """
        where = f"{block.page}:{block.line}"
        return "".join(self._type(typed, where) for typed in block.typed)

    def _type(self, typed: Typed, where: str) -> str:
        command = self._here(typed.command)
        done = subprocess.run(
            ["bash", "-c", f"{fails_at_once(self.unwell)}\n{command}"],
            cwd=self.directory,
            env=self._variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=AT_MOST,
            check=False,
        )
        assert done.returncode in _fine(self.unwell), (
            f"{where}: {command}\n{done.returncode}: {done.stdout}"
        )
        missing = missing_lines(typed.output, done.stdout)
        assert not missing, f"{where}: {command}\ndoes not say: {missing[0]}\nbut:\n{done.stdout}"
        return done.stdout

    def _here(self, text: str) -> str:
        """Return text with what it means here; longer names come before those that begin them."""
        if not self.stand_for:
            return text
        names = sorted(self.stand_for, key=len, reverse=True)
        pattern = "|".join(rf"(?<![\w.]){re.escape(name)}(?!\d)" for name in names)
        return re.sub(pattern, lambda found: self.stand_for[found[0]], text)

    def _variables(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        ours = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin",
            "HOME": str(self.directory),
            "CACHEMESH_SNAPSHOT_DIR": "off",
        }
        return {**kept, **ours, **self.environment}


def fails_at_once(unwell: bool = False) -> str:
    """Return lines after which a bash ends at the first command that fails.

    Args:
        unwell: whether commands may find the pool unhealthy.
    """
    return _ENDS_AT_A_FAILURE % "|".join(map(str, _fine(unwell)))


def _fine(unwell: bool) -> list[int]:
    return [0, _WOULD_CHANGE, *([_UNHEALTHY] if unwell else [])]


def missing_lines(shown: tuple[str, ...], output: str) -> list[str]:
    """Return the lines of a page that an output lacks, in their order.

    Figures, their bounds, addresses and the width of columns may differ; ``...`` stands for
    anything.
    """
    rest = iter([_without_figures(line) for line in output.splitlines()])
    missing = []
    for line in shown:
        wanted = re.escape(_without_figures(line)).replace(r"\.\.\.", ".*")
        if wanted and line.startswith(" "):  # a label stands once on a terminal, else in each line
            wanted = f"(.* )?{wanted}"
        if wanted and not any(re.fullmatch(wanted, got) for got in rest):
            missing.append(line)
    return missing


def _without_figures(line: str) -> str:
    figures = _FIGURE.sub("#", _ADDRESS.sub("@", line))
    return " ".join(_RULE.sub("", _BOUNDS.sub("", figures)).split())
