"""The `cachemesh` command, run in this process or on a pseudo-terminal of a chosen width."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cachemesh.cli import main as cli

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "cachemesh_command"]

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


Run = Callable[..., tuple[int, Any, str]]


def in_process(
    env: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Return a function that runs the command in this process.

    The function returns the exit code, the JSON data of stdout, and stderr.
    """
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str) -> tuple[int, Any, str]:
        code = cli.run(["-o", "json", *arguments])
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if captured.out else None, captured.err

    return call


class Terminal:
    """A running command whose standard streams are one pseudo-terminal.

    Args:
        arguments: of the `cachemesh` command.
        columns: the width of the terminal.
        command: another program to run, with its arguments.
        env: added to the environment of this process.
    """

    def __init__(
        self,
        *arguments: str,
        columns: int = 100,
        command: list[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        inherited = {name: v for name, v in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [*(COMMAND if command is None else command), *arguments],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env={**inherited, "TERM": "xterm", **(env or {})},
            cwd=REPOSITORY,
        )
        os.close(follower)
        self.raw = b""

    @property
    def seen(self) -> str:
        """The text shown so far, without styles."""
        return _STYLE.sub("", self.raw.decode())

    def until(self, text: str) -> None:
        """Wait until the text is shown."""
        while text not in self.seen:
            data = self._read()
            assert data, f"it ended before it said {text!r}: {self.seen}"

    def answer(self, text: str) -> int:
        """Type an answer, or Ctrl-C for an empty one; return the exit code."""
        if text:
            os.write(self._leader, text.encode())
        else:
            self.process.send_signal(signal.SIGINT)
        return self.end()

    def end(self) -> int:
        """Wait for the end of the command and return its exit code."""
        while self._read():
            pass
        os.close(self._leader)
        return self.process.wait(60)

    def _read(self) -> bytes:
        try:
            data = os.read(self._leader, 65_536)
        except OSError:  # Linux: the other side of the terminal is closed
            return b""
        self.raw += data
        return data
