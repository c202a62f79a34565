"""Two network namespaces joined by a cable that a test unplugs, with processes in each.

Linux and root only; `needs_namespaces` ends the test elsewhere.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from cachemesh.local.binaries import find_redis_server
from tests.support.needs import lacks, needs

_ROOT = Path(__file__).resolve().parents[2]
MAJORITY, MINORITY = "10.213.7.1", "10.213.7.2"
_CLONE_NEWNET = 0x40000000  # <sched.h>
_libc = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


def needs_namespaces() -> None:
    """End the test where this machine cannot have network namespaces."""
    ip = needs("ip")
    if os.geteuid() != 0:
        lacks("network namespaces need root")
    name = f"cm-probe-{os.getpid()}"
    made = subprocess.run([ip, "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        lacks(f"`ip netns add`: {made.stderr.strip()}")
    _ip("netns", "del", name)
    cable = [*(ip, "link", "add", name[-15:], "type", "veth", "peer", "name", f"p{os.getpid()}")]
    made = subprocess.run(cable, capture_output=True, text=True, check=False)
    if made.returncode:
        lacks(f"`ip link add type veth`: {made.stderr.strip()}")
    _ip("link", "del", name[-15:])


class SplitNetwork:
    """A majority and a minority side of a network."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._names = {MAJORITY: f"cm-a-{os.getpid()}", MINORITY: f"cm-b-{os.getpid()}"}
        self._cable = f"cm{os.getpid() % 10**8}"
        self._started: list[subprocess.Popen[str]] = []

    def build(self) -> None:
        """Make both namespaces and the cable."""
        for name in self._names.values():
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        ends = [f"{self._cable}a", f"{self._cable}b"]
        _ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for end, (address, name) in zip(ends, self._names.items(), strict=True):
            _ip("link", "set", end, "netns", name)
            _ip("-n", name, "address", "add", f"{address}/24", "dev", end)
            _ip("-n", name, "link", "set", end, "up")

    def tear_down(self) -> None:
        """End the processes and remove the namespaces."""
        for process in self._started:
            process.kill()
            process.communicate()
        for name in self._names.values():
            subprocess.run([needs("ip"), "netns", "del", name], capture_output=True, check=False)

    def pull(self, plugged: bool = False) -> None:
        """Take the cable down, or up if ``plugged``; packets are lost without an error."""
        state = "up" if plugged else "down"
        _ip("-n", self._names[MAJORITY], "link", "set", f"{self._cable}a", state)

    def redis(self, side: str, name: str, *lines: str, sentinel: bool = False) -> None:
        """Start a redis-server or Sentinel on that side, with these lines of configuration."""
        home = self._directory / name
        home.mkdir()
        conf = home / "redis.conf"
        common = (f"bind {side}", "protected-mode no", f"logfile {home / 'log'}")
        data = () if sentinel else ('save ""', f"dir {home}")
        conf.write_text("\n".join([*common, *data, *lines, ""]))
        words = [str(find_redis_server().path), str(conf), *(["--sentinel"] if sentinel else [])]
        self._start(side, words, stdout=subprocess.DEVNULL)

    def events(self) -> str:
        """Return what each Sentinel has logged of failovers, outages and its own slowness."""
        return "".join(
            f"\n{log.parent.name}: {line}"
            for log in sorted(self._directory.glob("*/log"))
            for line in log.read_text(errors="replace").splitlines()
            if re.search(r" [#*] [+-]", line)
        )

    def app(self, side: str, url: str, who: str) -> App:
        """Start an app on that side; return once its writers write."""
        words = [sys.executable, "-m", "tests.support.chaos_app", url, who]
        return App(self._start(side, words, stdin=subprocess.PIPE, stdout=subprocess.PIPE))

    def inside(self, side: str, call: Callable[[], T]) -> T:
        """Return what a call returns on a thread in that side; its processes stay there too."""

        def run() -> T:
            with Path(f"/run/netns/{self._names[side]}").open("rb") as namespace:
                if _libc.setns(namespace.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            return call()

        with ThreadPoolExecutor(1) as threads:
            return threads.submit(run).result()

    def _start(self, side: str, words: list[str], **streams: Any) -> subprocess.Popen[str]:
        words = [needs("ip"), "netns", "exec", self._names[side], *words]
        process = subprocess.Popen(words, text=True, cwd=_ROOT, env=_environment(), **streams)
        self._started.append(process)
        return process


class App:
    """The test's end of a process of `tests.support.chaos_app`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert self._answer() == {"ready": True}

    def do(self, what: str, **order: Any) -> Any:
        """Send an order and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **order}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the app has ended; its reason stands above"
        return json.loads(line)


@contextmanager
def split_network(directory: Path) -> Iterator[SplitNetwork]:
    """Build both sides for the block, and remove them with all their processes."""
    made = SplitNetwork(directory)
    with ExitStack() as stack:
        stack.callback(made.tear_down)
        made.build()
        yield made


def _ip(*words: str) -> None:
    subprocess.run([needs("ip"), *words], check=True, capture_output=True)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_ROOT)}
