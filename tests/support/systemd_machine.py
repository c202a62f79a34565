"""Machines with systemd and an address each, as docs/production.md has them.

A machine is a container of systemd-nspawn, whose file system is this machine's under a layer of its
own, so that what Debian packages brought is there and nothing that is written leaves it. All of it
wants namespaces of its own, which `scripts/three-machines` makes: with them everything ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.shell_blocks import fails_at_once
from tests.support.waiting import AT_MOST, until

BRIDGE, OPERATOR = "machines", "10.0.0.254"
# What the machine of the tests may run and a new one would not.
_NOT_THERE = (
    "nginx",
    "postgresql",
    "prometheus",
    "prometheus-node-exporter",
    "redis-sentinel",
    "redis-server",
    "zookeeper",
)
# Debian's packages are there before a machine boots.
_APT = "#!/bin/sh\nexit 0\n"
_PIP = "[global]\nno-index = true\nfind-links = /wheels\n"


def make_network() -> None:
    """Connect the operator, whose place is where this process is, to the machines' network."""
    _do("ip", "link", "set", "lo", "up")
    _do("ip", "link", "add", BRIDGE, "type", "bridge")
    _do("ip", "address", "add", f"{OPERATOR}/24", "dev", BRIDGE)
    _do("ip", "link", "set", BRIDGE, "up")


class SystemdMachine:
    """A machine, which runs from `start` until `stop`.

    Args:
        number: 1 for 10.0.0.1, and so on.
        directory: for its file system.
        wheels: directory of Python packages that pip finds there.
    """

    def __init__(self, number: int, directory: Path, wheels: Path) -> None:
        self.name = f"m{number}"
        self.number = number
        self.address = f"10.0.0.{number}"
        self._directory = directory
        self._wheels = wheels
        self._process: subprocess.Popen[bytes] | None = None
        self.first = 0
        """The number of its first process, seen from outside."""

    @property
    def root(self) -> Path:
        """Its file system, seen from outside."""
        return self._directory / "root"

    def start(self) -> None:
        """Boot it; return once systemd has started everything."""
        self._mount()
        log = (self._directory / "console").open("wb")
        self._process = subprocess.Popen(
            [
                *("systemd-nspawn", "--quiet", "--boot", f"--machine={self.name}"),
                *(f"--directory={self.root}", "--register=no", "--keep-unit"),
                *(f"--network-bridge={BRIDGE}", "--console=pipe"),
                *("--tmpfs=/tmp", f"--bind-ro={self._wheels}:/wheels"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        until(self._is_up)
        self.run("ip link set lo up; ip link set host0 up")
        self.run(f"ip address add {self.address}/24 dev host0")

    def stop(self) -> None:
        """Pull its plug, if it runs, and forget what it wrote."""
        if self._process is None:
            return
        os.kill(self.first, signal.SIGKILL)
        self._process.wait(AT_MOST)
        self._process = None
        _do("umount", "--lazy", str(self.root))
        _do("umount", "--lazy", str(self._directory))

    def run(self, script: str, variables: Mapping[str, str] | None = None) -> str:
        """Run a script in its bash as root, in root's home; return what came out.

        Raises:
            AssertionError: a command of it failed.
        """
        done = self._inside("bash", "-c", f"{fails_at_once()}\ncd\n{script}", variables=variables)
        assert done.returncode == 0, f"{self.name}: {script}\n{done.returncode}: {done.stdout}"
        return done.stdout

    def put(self, source: str, target: str) -> None:
        """Copy a file or directory from outside to a path below root's home, as scp does."""
        _do("cp", "-r", source, str(self.root / "root" / target))

    def _mount(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        _do("mount", "-t", "tmpfs", "machine", str(self._directory))
        layers = {name: self._directory / name for name in ("upper", "work", "root")}
        for path in layers.values():
            path.mkdir()
        options = f"lowerdir=/,upperdir={layers['upper']},workdir={layers['work']}"
        _do("mount", "-t", "overlay", "overlay", "-o", options, str(self.root))
        self._write("etc/hostname", f"{self.name}\n")
        self._write("etc/machine-id", "")
        self._write("etc/pip.conf", _PIP)
        self._write("usr/local/sbin/apt-get", _APT, 0o755)
        for unit in _NOT_THERE:
            for wants in self.root.glob(f"etc/systemd/system/*.wants/{unit}.service"):
                wants.unlink()
        for place in ("root", "etc/cachemesh", "var/lib/cachemesh"):
            _do("rm", "-rf", str(self.root / place))
        (self.root / "root").mkdir(mode=0o700)

    def _write(self, path: str, text: str, mode: int = 0o644) -> None:
        target = self.root / path
        target.unlink(missing_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def _first_process(self) -> str:
        assert self._process is not None
        assert self._process.poll() is None, (self._directory / "console").read_text()
        pid = self._process.pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()

    def _is_up(self) -> bool:
        # At the beginning the first process is one that prepares the place of systemd.
        self.first = int(self._first_process() or 0)
        said = self._inside("systemctl", "is-system-running").stdout.strip()
        return said in ("running", "degraded")

    def _inside(
        self, *command: str, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            **(variables or {}),
        }
        words: Sequence[str] = [f"{name}={value}" for name, value in environment.items()]
        return subprocess.run(
            [
                *("nsenter", f"--target={self.first}"),
                *("--mount", "--uts", "--ipc", "--net", "--pid", "--"),
                *("env", "--ignore-environment", *words, *command),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=AT_MOST,
            check=False,
        )


def _do(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
