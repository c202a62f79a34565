"""One of the clients that are compared, as the process that runs `child`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

_CHILD = Path(__file__).with_name("child.py")
_MAIN_THREAD = "-01"
_PATIENCE = 60.0


class Side:
    """A client in a process of its own, which may run under callgrind.

    Args:
        url, token: of the pool.
        clone: where the client's source is.
        counted: the directory for callgrind's files; None runs the client as it is.
    """

    def __init__(self, url: str, token: str, clone: Path, counted: Path | None = None) -> None:
        self._counted = counted
        command = [sys.executable, str(_CHILD), url]
        if counted is not None:
            counted.mkdir()
            out = f"--callgrind-out-file={counted}/out"
            how = ["--instr-atstart=no", "--separate-threads=yes", "--quiet", out]
            command = ["valgrind", "--tool=callgrind", *how, *command]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "CACHEMESH_TOKEN": token,
                "PYTHONHASHSEED": "0",
                "PYTHONPATH": str(clone),
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=_PATIENCE)

    def cpu(self, kind: str, calls: int) -> float:
        """Make calls; return the seconds of CPU for each, with all threads and the kernel's work.

        Raises:
            SystemExit: the client broke off.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{kind} {calls}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the client broke off")
        return float(line) / calls

    def instructions(self, kind: str, calls: int) -> float:
        """Make calls under callgrind; return the main thread's instructions for each.

        The kernel's are not counted.

        Raises:
            SystemExit: the client or callgrind broke off.
        """
        assert self._counted is not None
        self.cpu(kind, max(1, calls // 10))  # connections, caches
        known = set(self._counted.iterdir())
        self._control("--instr=on")
        self._control("--zero")
        self.cpu(kind, calls)
        self._control("--dump")
        self._control("--instr=off")
        new = [path for path in self._counted.iterdir() if path not in known]
        return sum(_total(path) for path in new if path.name.endswith(_MAIN_THREAD)) / calls

    def _control(self, order: str) -> None:
        done = subprocess.run(
            ["callgrind_control", order, str(self._process.pid)],
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
        )
        if "OK" not in done.stdout:
            raise SystemExit(f"callgrind_control {order}: {done.stdout}{done.stderr}")


def _total(path: Path) -> int:
    lines = path.read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("totals:"))
