"""Checks that this machine has everything that a local stack and a client need."""

from __future__ import annotations

import platform
import re
import resource
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from cachemesh.core.errors import LocalStackError
from cachemesh.local.binaries import PIP_LINE, find_redis_server
from cachemesh.local.doctor.check import Check, fail, failed, ok, warn
from cachemesh.local.ports import holder_of, is_free
from cachemesh.local.stack import LocalStack

_PYTHON = (3, 10)
_REDIS_PY = ((6, 4), (9,))  # from the first, and below the second
_EXTRAS = {
    "cli": ("click", "rich", "PyYAML"),
    "server": ("Flask", "gunicorn", "gevent", "jsonschema"),
}
_OPEN_FILES = 1024  # 30 connections to each of 32 instances, and a few more


def examine_machine(directory: Path, environ: Mapping[str, str]) -> Iterator[Check]:
    """Yield the outcome of every check of this machine; no check raises.

    Args:
        directory: where `cachemesh up` would keep its state.
        environ: the environment that has CACHEMESH_REDIS_SERVER and PATH.
    """
    yield check_python(sys.version_info[:3])
    yield check_redis_py()
    for extra, packages in _EXTRAS.items():
        yield check_extra(extra, packages)
    yield from _check_redis_server(environ)
    yield check_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    yield check_directory(directory)
    for port, server in ((7700, "metaserver"), (7701, "dashboard")):
        yield check_port(port, server)


def check_python(version: tuple[int, ...]) -> Check:
    """Check the version of Python."""
    shown = ".".join(map(str, version))
    if version < _PYTHON:
        wanted = ".".join(map(str, _PYTHON))
        return fail("python", f"{shown} is too old", f"install Python {wanted} or later")
    return ok("python", f"{shown} on {platform.system()} {platform.machine()}")


def check_redis_py() -> Check:
    """Check that a supported redis-py is installed, with hiredis."""
    found = _version("redis")
    if found is None:
        return fail("redis-py", "not installed", "pip install cachemesh")
    numbers = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    if not _REDIS_PY[0] <= numbers < _REDIS_PY[1]:
        return fail("redis-py", f"{found} is not supported", "pip install 'redis[hiredis]>=6.4,<9'")
    hiredis = _version("hiredis")
    if hiredis is None:
        return warn("redis-py", f"{found} without hiredis: slow", "pip install 'redis[hiredis]'")
    return ok("redis-py", f"{found}, hiredis {hiredis}")


def check_extra(extra: str, packages: Sequence[str]) -> Check:
    """Check that the packages of one of cachemesh's extras are installed."""
    versions = {package: _version(package) for package in packages}
    missing = [package for package, version in versions.items() if version is None]
    name = f"extra {extra!r}"
    if missing:
        return warn(name, f"not installed: {', '.join(missing)}", PIP_LINE)
    return ok(name, ", ".join(f"{package} {version}" for package, version in versions.items()))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _check_redis_server(environ: Mapping[str, str]) -> Iterator[Check]:
    try:
        found = find_redis_server(environ)
    except LocalStackError as error:
        yield failed("redis-server", error, PIP_LINE)
        return
    yield ok("redis-server", str(found))
    stack = LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0, timeout=10)
    try:
        stack.start()
        stack.stop()
    except LocalStackError as error:
        yield failed("sentinel mode", error, "see the log of `cachemesh up`")
    else:
        yield ok("sentinel mode", "a Sentinel started here monitors a master started here")


def check_open_files(limit: int) -> Check:
    """Check the limit of open files per process; -1: there is none."""
    if limit in (resource.RLIM_INFINITY, -1):
        return ok("open files", "no limit")
    if limit < _OPEN_FILES:
        return warn("open files", f"at most {limit}", f"ulimit -n {4 * _OPEN_FILES}")
    return ok("open files", f"at most {limit:,}")


def check_directory(directory: Path) -> Check:
    """Check that a stack's state directory could be written, or else its nearest parent."""
    there = directory.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        reason = f"{there} is not writable: {error.strerror}"
        return fail("state directory", reason, "choose another with --dir or XDG_STATE_HOME")
    return ok("state directory", f"{directory} can be written")


def check_port(port: int, server: str) -> Check:
    """Check that a server's default port is free."""
    name = f"port {port}"
    if is_free(port):
        return ok(name, f"free for a {server}")
    holder = holder_of(port) or "another process"
    return warn(
        name, f"taken by {holder}", f"if that is not a {server} of yours, start yours elsewhere"
    )
