"""Files of snapshots: where they are, how one is read, and how several processes write one.

`read_snapshot` is for everybody who has such a file, such as an operator whose metaserver has lost
its database: a client's snapshot holds the pool document.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cachemesh.core.errors import ConfigurationError, SnapshotError
from cachemesh.core.pool.snapshot import MAX_SNAPSHOT_BYTES, Snapshot, successor
from cachemesh.core.pool.topology import Topology

OFF = "off"
"""What the option ``snapshot_dir`` and CACHEMESH_SNAPSHOT_DIR say for: no snapshots."""

_AGAIN = "remove it: another one is written as soon as the control plane answers"


def read_snapshot(path: str | os.PathLike[str]) -> Snapshot:
    """Return the snapshot in a file.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: there is no such file.
        SnapshotError: it cannot be read, is too large, damaged, or may have been written by another
            user; the message names the file, the reason and the next step.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe would block until there is a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            _check_file(os.fstat(file.fileno()))
            text = file.read(MAX_SNAPSHOT_BYTES + 1)
        if len(text) > MAX_SNAPSHOT_BYTES:
            raise SnapshotError(f"it is larger than {MAX_SNAPSHOT_BYTES} bytes")
        return Snapshot.from_json(text)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SnapshotError(
            f"Snapshot {path}: {error.strerror or error}; let this user read the file, or remove it"
        ) from error
    except SnapshotError as error:
        raise SnapshotError(f"Snapshot {path}: {error}; {_AGAIN}") from error


def _check_file(status: os.stat_result) -> None:
    """Refuse a file that another user may have written: clients would log in where it says.

    Raises:
        SnapshotError: not a regular file, or not this user's alone.
    """
    if not stat.S_ISREG(status.st_mode):
        raise SnapshotError("it is not a regular file")
    if status.st_uid not in (os.geteuid(), 0):
        raise SnapshotError(f"it belongs to another user (uid {status.st_uid})")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SnapshotError("other users may write it")


@dataclass(frozen=True)
class SnapshotFile:
    """The file for the snapshot of one pool from one source. Processes may share it.

    Attributes:
        directory: made with mode 0700 if it is not there.
        source: identity of the source, without a secret; also tells deployments apart.
        pool: name of the pool; None if the source alone knows it.
    """

    directory: Path
    source: str
    pool: str | None

    @property
    def path(self) -> Path:
        """The file; the source's digest in its name keeps those of several deployments apart."""
        digest = hashlib.sha256(self.source.encode()).hexdigest()[:16]
        return self.directory / f"{self.pool or 'pool'}-{digest}.json"

    def read(self) -> Snapshot | None:
        """Return the snapshot, None if there is no file.

        Raises:
            SnapshotError: the file is of no use; see `read_snapshot` and `Snapshot.check`.
        """
        try:
            snapshot = read_snapshot(self.path)
        except FileNotFoundError:
            return None
        try:
            snapshot.check(self.pool, self.source, time.time())
        except SnapshotError as error:
            raise SnapshotError(f"Snapshot {self.path}: {error}; {_AGAIN}") from error
        return snapshot

    def age(self, snapshot: Snapshot) -> float:
        """Return for how many seconds the source has not confirmed the snapshot's document."""
        return max(0.0, time.time() - snapshot.confirmed_at)

    def store(self, topology: Topology, age: float) -> None:
        """Store a topology, unless what is there is as good or another process is just storing.

        However this ends, also by SIGKILL or a loss of power, the file is the former one or the
        new one, whole.

        Args:
            topology: by which clients route.
            age: seconds since the source has confirmed its document.

        Raises:
            OSError: it cannot be stored.
        """
        snapshot = Snapshot(self.source, time.time() - age, topology)
        if self._successor(snapshot) is None:
            return
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600), "r+b") as file:
            if not _lock(file, temporary):
                return
            try:
                better = self._successor(snapshot)  # what another process has stored meanwhile
                if better is None:
                    temporary.unlink()
                else:
                    _write(file, better.to_json())
                    temporary.replace(self.path)
            except OSError:
                with suppress(OSError):
                    temporary.unlink()
                raise

    def _successor(self, snapshot: Snapshot) -> Snapshot | None:
        try:
            stored = self.read()
        except SnapshotError:
            stored = None
        return successor(snapshot, stored)


def _write(file: IO[bytes], text: str) -> None:
    os.fchmod(file.fileno(), 0o600)
    file.truncate(0)  # a process that was killed has left its part here
    file.write(text.encode())
    file.flush()
    # Else a loss of power may leave an empty file under the new name. Whether the name itself
    # survives does not matter: if not, the former snapshot does.
    os.fsync(file.fileno())


def _lock(file: IO[bytes], path: Path) -> bool:
    """Lock a file for this process, which whoever opens it by its path has to do.

    Returns:
        False if another process has locked the file, or has meanwhile renamed it.

    Raises:
        OSError: the file is not this user's, or locks are not supported there.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status, now = os.fstat(file.fileno()), path.lstat()
    except (BlockingIOError, FileNotFoundError):
        return False
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(1, "its temporary file is not this user's", str(path))
    return os.path.samestat(status, now)


def snapshot_directory(option: object, environ: Mapping[str, str]) -> Path | None:
    """Return the directory of snapshots, None for none.

    It is ``option``, else CACHEMESH_SNAPSHOT_DIR, else ``cachemesh`` in the user's directory for
    state: a snapshot is state, not cache, for it is needed just when nothing can make it anew.

    Source: XDG Base Directory Specification 0.8, XDG_STATE_HOME.

    Args:
        option: a path, ``off``, or None.
        environ: holds CACHEMESH_SNAPSHOT_DIR, XDG_STATE_HOME and HOME.

    Raises:
        ConfigurationError: the option is no path.
    """
    if option is not None and not isinstance(option, (str, os.PathLike)):
        raise ConfigurationError("Option snapshot_dir takes a directory, or off")
    chosen = os.fspath(option) if option else environ.get("CACHEMESH_SNAPSHOT_DIR")
    if isinstance(chosen, bytes):
        chosen = os.fsdecode(chosen)
    state = environ.get("XDG_STATE_HOME", "")
    try:
        if chosen:
            return None if chosen.lower() == OFF else Path(chosen).expanduser()
        if Path(state).is_absolute():  # "All paths must be absolute", others are ignored
            return Path(state) / "cachemesh"
        return Path.home() / ".local" / "state" / "cachemesh"
    except RuntimeError:  # a user without a home
        return None
