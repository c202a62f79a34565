"""The state directory of a local stack: its lock, its description, its files.

DIR/stack.lock   locked by the stack's reaper: a free lock means that no stack runs
DIR/stack.json   the description: what `cachemesh up -o json` prints, and every process
DIR/token        the admin token of the metaserver (0600)
DIR/tls          certificates and keys of a stack with TLS
DIR/conf, DIR/data, DIR/logs, DIR/meta.db*, DIR/token.history*
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cachemesh.core.errors import LocalStackError

_LOCK = "stack.lock"
_STACK = "stack.json"
_DESCRIBED_WITHIN = 2.0  # seconds that a starting stack takes, once it has the lock, to write it
_TREES = ("conf", "data", "logs", "tls")
_DATABASES = ("meta.db", "meta.db.history", "token.history")  # each in up to three files
_FILES = (
    *(_STACK, "token", "meta.db.beat", "secret-key"),
    *(f"{name}{end}" for name in _DATABASES for end in ("", "-wal", "-shm")),
)


class NoStackError(LocalStackError):
    """The directory holds no stack."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"no stack in {directory}; start one with `cachemesh up --dir {directory}`, "
            "or name another directory with --dir"
        )


def default_directory(pool: str, environ: Mapping[str, str] | None = None) -> Path:
    """Return XDG_STATE_HOME/cachemesh/POOL, which does not depend on the working directory.

    Source: the XDG Base Directory Specification, freedesktop.org.

    Raises:
        LocalStackError: nobody knows the user's home, as in a container whose user has no name.
    """
    environ = os.environ if environ is None else environ
    try:
        home = environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    except RuntimeError as error:
        raise LocalStackError(
            "state directory: this user has no home directory; set XDG_STATE_HOME, or name one by "
            "--dir"
        ) from error
    return Path(home) / "cachemesh" / pool


class StateDirectory:
    """The directory of one stack. Only the stack that holds the lock writes to it.

    Args:
        path: the directory, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._descriptor: int | None = None

    def __truediv__(self, name: str) -> Path:
        """Return the path of a file or directory in it."""
        return self.path / name

    @property
    def token_file(self) -> Path:
        """The file with the metaserver's admin token."""
        return self.path / "token"

    @property
    def lock_descriptor(self) -> int:
        """The file descriptor of the lock that `acquire` took; a child process can inherit it."""
        assert self._descriptor is not None
        return self._descriptor

    def acquire(self) -> None:
        """Make the directory, lock it, and remove the files of an earlier stack.

        Raises:
            LocalStackError: a stack runs in the directory, the directory holds files that no stack
                made, or it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            ours = (self.path / _LOCK).exists()
            if not ours and any(self.path.iterdir()):
                raise LocalStackError(
                    f"{self.path} is not empty and was not made by `cachemesh up`; "
                    "choose another directory with --dir"
                )
            self._descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise LocalStackError(
                f"{self.path} cannot hold a stack: {error.strerror}; "
                "choose a directory you can write to with --dir"
            ) from error
        # `status` holds the lock for a moment to test it, and a reaper while it kills processes.
        if not self._lock(timeout=0.5):
            running = self.read()
            self.release()
            user = "a stack"
            if running:
                user = f"the stack of pool {running['info']['pool']!r} ({running['info']['url']})"
            raise LocalStackError(
                f"{self.path} is in use by {user}; stop it with "
                f"`cachemesh down --dir {self.path}` or choose another directory with --dir"
            )
        self._clear()
        for tree in _TREES:
            (self.path / tree).mkdir(mode=0o700)

    def _lock(self, timeout: float = 0.0) -> bool:
        """Take the lock within `timeout` seconds; return whether that was possible."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(self.lock_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(0.02)

    def _clear(self) -> None:
        for tree in _TREES:
            shutil.rmtree(self.path / tree, ignore_errors=True)
        for name in _FILES:
            (self.path / name).unlink(missing_ok=True)

    def release(self) -> None:
        """Close this process's descriptor of the lock; a reaper that inherited it keeps it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def in_use(self) -> bool:
        """Return whether a stack runs in the directory, that is whether the lock is taken."""
        if self._descriptor is not None:
            return True
        try:
            self._descriptor = os.open(self.path / _LOCK, os.O_RDWR)
        except OSError:
            return False
        try:
            return not self._lock()
        finally:
            self.release()

    def wait_unused(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until no stack runs here; return whether none does."""
        deadline = time.monotonic() + timeout
        while self.in_use():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def write(self, description: Mapping[str, Any]) -> None:
        """Replace stack.json atomically; only its owner can read the file (mode 0600)."""
        fresh = self.path / f"{_STACK}.new"
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:  # noqa: PTH123 - the mode must hold from the start
            json.dump(description, out, indent=2)
        fresh.replace(self.path / _STACK)

    def read(self) -> dict[str, Any] | None:
        """Return the content of stack.json, or None if there is no such file.

        Raises:
            LocalStackError: the file is damaged or cannot be read.
        """
        try:
            text = (self.path / _STACK).read_text()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise LocalStackError(f"{self.path / _STACK} cannot be read: {error}") from error
        try:
            found: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise LocalStackError(f"{self.path / _STACK} is damaged: {error}") from error
        return found

    def description(self) -> dict[str, Any]:
        """Return the content of stack.json; wait for a stack that has just begun to start.

        Raises:
            NoStackError: the directory holds no stack.
            LocalStackError: the file is damaged or cannot be read.
        """
        running = self.in_use()
        deadline = time.monotonic() + _DESCRIBED_WITHIN
        while (found := self.read()) is None:
            if not running or time.monotonic() > deadline:
                raise NoStackError(self.path)
            time.sleep(0.05)
        return found

    def forget(self) -> None:
        """Remove stack.json and the token of a stack that has ended; its logs and data stay."""
        for name in (_STACK, "token"):
            with contextlib.suppress(FileNotFoundError):
                (self.path / name).unlink()
