"""Client processes that a test starts, freezes, and ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from typing_extensions import Self

ROOT = Path(__file__).parents[2]
KINDS = ("sync", "asyncio")  # of client processes, in turn


class ClientProcesses:
    """So many processes of a module of the tests, which go on until their standard input ends.

    Args:
        module: its name.
        arguments: of each process.
        token: for the metaservers.
        log: where their standard error goes.
        variables: of their environment, beside the usual ones.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[Sequence[str]],
        token: str,
        log: Path,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        environment = {**os.environ, "CACHEMESH_TOKEN": token, "CACHEMESH_SNAPSHOT_DIR": "off"}
        self.log = log
        with log.open("ab") as errors:
            self.processes = [
                subprocess.Popen(
                    [sys.executable, "-m", module, *words],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    cwd=ROOT,
                    env={**environment, **(variables or {})},
                    text=True,
                )
                for words in arguments
            ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()

    def __len__(self) -> int:
        return len(self.processes)

    def freeze(self, number: int) -> None:
        """Send a process SIGSTOP."""
        os.kill(self.processes[number].pid, signal.SIGSTOP)

    def thaw(self, number: int) -> None:
        """Send a process SIGCONT."""
        os.kill(self.processes[number].pid, signal.SIGCONT)

    def end(self, seconds: float) -> list[str]:
        """End all processes, and return what each has written.

        Args:
            seconds: for each.
        """
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
        told = []
        for process in self.processes:
            out, _ = process.communicate(timeout=seconds)
            assert process.returncode == 0, self.log.read_text()
            told.append(out)
        return told
