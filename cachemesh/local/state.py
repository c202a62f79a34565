"""The directory a local stack lives in: its lock, its description, its files.

DIR/stack.lock   held by the stack's keeper: a lock that can be taken means nothing runs
DIR/stack.json   what `cachemesh up -o json` prints, and every process by pid and start time
DIR/token        the admin token of the metaserver (0600)
DIR/conf, DIR/data, DIR/logs, DIR/meta.db*
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
_TREES = ("conf", "data", "logs")
_FILES = (_STACK, "token", "meta.db", "meta.db-wal", "meta.db-shm", "secret-key")


def default_directory(pool: str, environ: Mapping[str, str] | None = None) -> Path:
    """XDG_STATE_HOME/cachemesh/POOL: `cachemesh down` finds it from wherever it is called."""
    environ = os.environ if environ is None else environ
    home = environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    return Path(home) / "cachemesh" / pool


class StateDirectory:
    """One stack's directory. Nobody writes to it while another's stack has the lock."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._descriptor: int | None = None

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def token_file(self) -> Path:
        return self.path / "token"

    @property
    def lock_descriptor(self) -> int:
        """The descriptor that holds the lock, for a process that shall keep holding it."""
        assert self._descriptor is not None
        return self._descriptor

    def acquire(self) -> None:
        """Make the directory, lock it, and clear what an earlier stack left in it.

        Raises LocalStackError when a stack runs in it, when it holds files of another origin, and
        when it cannot be written.
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
        # Patience: `status` holds the lock for a moment when it looks, a keeper while it cleans up.
        if not self._lock(patience=0.5):
            running = self.read()
            self.release()
            who = "a stack"
            if running:
                who = f"the stack of pool {running['info']['pool']!r} ({running['info']['url']})"
            raise LocalStackError(
                f"{self.path} is in use by {who}; stop it with "
                f"`cachemesh down --dir {self.path}` or choose another directory with --dir"
            )
        self._clear()
        for tree in _TREES:
            (self.path / tree).mkdir(mode=0o700)

    def _lock(self, patience: float = 0.0) -> bool:
        deadline = time.monotonic() + patience
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
        """Let go of the lock here; a keeper that shares it holds it still."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def in_use(self) -> bool:
        """Whether a stack runs here: somebody holds the lock."""
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
        """Wait up to `timeout` seconds until no stack runs here; whether that is so."""
        deadline = time.monotonic() + timeout
        while self.in_use():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def write(self, description: Mapping[str, Any]) -> None:
        """Replace stack.json in one step (0600)."""
        fresh = self.path / f"{_STACK}.new"
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:  # noqa: PTH123 - the mode must hold from the start
            json.dump(description, out, indent=2)
        fresh.replace(self.path / _STACK)

    def read(self) -> dict[str, Any] | None:
        """What stack.json says, None without one. Raises LocalStackError if it is damaged."""
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

    def forget(self) -> None:
        """Remove stack.json and the token: the stack is down. Logs and data stay to be read."""
        for name in (_STACK, "token"):
            with contextlib.suppress(FileNotFoundError):
                (self.path / name).unlink()
