"""A process with a client for each URL, which prints what each client knows.

``python -m tests.support.watching_client URL...`` writes lines of JSON until its pipe is closed.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cachemesh import CacheMesh

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


def main(urls: list[str]) -> None:
    """Print the state of all clients every 50 ms."""
    clients = [CacheMesh.from_url(url) for url in urls]
    while True:
        known = [client.topology for client in clients]
        state = {
            "versions": [topology.document.version for topology in known],
            "masters": [str(topology.masters.get("cache-0")) for topology in known],
            "threads": Counter(thread.name for thread in threading.enumerate()),
            "peak_mib": peak_mib(),
        }
        sys.stdout.write(f"{json.dumps(state)}\n")
        sys.stdout.flush()
        time.sleep(0.05)


def peak_mib() -> int:
    """Return the highest memory use of this program, in MiB.

    getrusage would include the program that started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (kilobytes,) = re.findall(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(kilobytes) // 1024


class Watching:
    """A process of this module.

    Attributes:
        state: the last line it wrote; None before the first.
        said: its lines on stderr.
    """

    def __init__(self, *urls: str) -> None:
        self.state: Any = None
        self.said: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *urls],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self._readers = [threading.Thread(target=each) for each in (self._read, self._listen)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.state = json.loads(line)

    def _listen(self) -> None:
        assert self._process.stderr is not None
        self.said.extend(self._process.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        for reader in self._readers:
            reader.join()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(sys.argv[1:])
