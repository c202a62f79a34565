"""The SQLite file of `SqliteStore`: opening, transactions, errors.

    greenlets --lock--> one connection --BEGIN IMMEDIATE--> FILE <-- other processes' connections
                                                            FILE-wal, FILE-shm

Greenlets do not switch inside a transaction, so one connection serves them all.

Opening the file takes room for a few pages of FILE-wal and FILE-shm. A complete file that cannot be
opened for want of room is served from a copy in memory, without writes, until it can be opened.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from metaserver.store.errors import StorageDiskError, StorageError, StorageFullError
from metaserver.store.sqlite_schema import SCHEMA_VERSION, UPGRADES

LOCK_WAIT = 5.0  # seconds that a transaction waits for other processes
_BUSY = 0.1  # seconds that SQLite itself waits: it blocks the whole process meanwhile
_FULL_BELOW = 64 * 1024  # bytes free under which an I/O error counts as a full disk
_REOPEN_EVERY = 1.0  # seconds between two attempts to leave the copy for the file


class Transactions(Protocol):
    """What the parts of a store read and write through."""

    def read(self) -> AbstractContextManager[sqlite3.Connection]:
        """Begin a transaction that reads one consistent view of the data."""

    def write(self) -> AbstractContextManager[sqlite3.Connection]:
        """Begin a transaction that writes, committed as a whole or not at all."""

    def change_marker(self) -> Hashable:
        """Return a value that differs after each change."""

    def check_writable(self) -> None:
        """Raise StorageError unless a row can be written and committed."""

    def close(self) -> None:
        """Close the file. Idempotent."""


class Database:
    """One connection to the SQLite file at `path`, with its tables created or upgraded.

    Raises:
        StorageError: the file or its directory cannot be written, is not a SQLite database, or
            was written by a newer release. A full disk is no error if the file can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._own_changes = 0
        self._opened = 0  # how often the file was opened again, for the change marker
        self._unwritable: StorageError | None = None  # why the copy is served
        self._reopen_at = 0.0
        try:
            self._db = self._open()
        except (StorageFullError, StorageDiskError) as error:
            self._db = self._copy(error)
            self._unwritable = error
            self._reopen_at = time.monotonic() + _REOPEN_EVERY

    def _open(self) -> sqlite3.Connection:
        if not self.path.parent.is_dir():
            raise StorageError(
                f"Database {self.path}: there is no directory {self.path.parent}; create it"
            )
        try:
            new = not self.path.exists()
            db = self._connected()
        except sqlite3.Error as error:
            raise self._translated(error) from error
        try:
            if new:
                self.path.chmod(0o600)
            self._prepare(db)
        except (sqlite3.Error, OSError) as error:
            db.close()
            raise self._translated(error) from error
        except StorageError:
            db.close()
            raise
        return db

    def _connected(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False
        )

    def _prepare(self, db: sqlite3.Connection) -> None:
        self._execute_patiently(db, "PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        if self._schema_of(db) == SCHEMA_VERSION:
            return  # nothing is written: there may be no room
        self._execute_patiently(db, "BEGIN IMMEDIATE")
        try:
            for statements in UPGRADES[self._schema_of(db) :]:
                for statement in statements:
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")

    def _schema_of(self, db: sqlite3.Connection) -> int:
        found = int(db.execute("PRAGMA user_version").fetchone()[0])
        if found > SCHEMA_VERSION:
            raise StorageError(
                f"Database {self.path} has schema {found}, this release reads up to "
                f"{SCHEMA_VERSION}; upgrade cachemesh or use the database of this release"
            )
        return found

    def _copy(self, reason: StorageError) -> sqlite3.Connection:
        """Return a copy of the data in memory, as the file cannot be opened because of `reason`.

        In exclusive mode SQLite keeps the index of FILE-wal in memory and needs no FILE-shm
        (https://sqlite.org/wal.html#noshm), so that the last commits are read too.

        Raises:
            StorageError: `reason`, if there is no complete database.
        """
        if not self.path.exists():
            raise reason
        copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        try:
            file = self._connected()
            try:
                file.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._execute_patiently(file, "SELECT 1 FROM sqlite_master")
                file.backup(copy)
            finally:
                file.close()
            if self._schema_of(copy) == SCHEMA_VERSION:
                return copy
        except sqlite3.Error as error:
            copy.close()
            raise reason from error
        copy.close()
        raise reason

    def _leave_copy(self) -> None:
        """Return from the copy to the file if it can be opened now. The caller holds the lock."""
        try:
            file = self._open()
        except StorageError:
            self._reopen_at = time.monotonic() + _REOPEN_EVERY
            return
        self._db.close()
        self._db = file
        self._unwritable = None
        self._opened += 1

    @staticmethod
    def _execute_patiently(db: sqlite3.Connection, statement: str) -> None:
        """Execute a statement that needs a lock, waiting in short steps for other processes."""
        deadline = time.monotonic() + LOCK_WAIT
        while True:
            try:
                db.execute(statement)
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() >= deadline:
                    raise
            time.sleep(0.005)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Begin a transaction that reads one consistent view of the data.

        Raises:
            StorageError: the data cannot be read.
        """
        with self._transaction("BEGIN") as db:
            yield db

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Begin a transaction that no other process's writes overlap, committed as a whole or not.

        Raises:
            StorageFullError: there is no room left.
            StorageError: the data cannot be written.
        """
        with self._transaction("BEGIN IMMEDIATE") as db:
            before = db.total_changes
            yield db
            changed = db.total_changes != before
        if changed:
            self._own_changes += 1

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            db = self._current(writes=begin != "BEGIN")
            try:
                self._execute_patiently(db, begin)
                yield db
                db.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._translated(error) from error
            finally:
                # SQLite ends the transaction itself after some errors, a full disk among them.
                if db.in_transaction:
                    db.rollback()

    def _current(self, *, writes: bool) -> sqlite3.Connection:
        """Return the file, or the copy that stands in for it. The caller holds the lock."""
        if self._unwritable is not None and (writes or time.monotonic() >= self._reopen_at):
            self._leave_copy()
        if self._unwritable is not None and writes:
            raise type(self._unwritable)(str(self._unwritable))
        return self._db

    def change_marker(self) -> Hashable:
        """Return a value that differs after each change.

        This process's changes are counted; `data_version` tells of those of other processes.
        Source: https://sqlite.org/pragma.html#pragma_data_version.
        """
        with self._lock:
            try:
                db = self._current(writes=False)
                (others,) = db.execute("PRAGMA data_version").fetchone()
            except sqlite3.Error as error:
                raise self._translated(error) from error
            return self._opened, self._own_changes, others

    def check_writable(self) -> None:
        """Raise StorageError unless a row can be written and committed.

        The change markers of other processes count this as a change; that of this process does
        not.
        """
        with self._transaction("BEGIN IMMEDIATE") as db:
            db.execute("UPDATE probe SET count = 1 - count")

    def close(self) -> None:
        """Close the file. Idempotent."""
        with self._lock:
            self._db.close()

    def _translated(self, error: sqlite3.Error | OSError) -> StorageError:
        return storage_error(self.path, error)


def storage_error(path: Path, error: sqlite3.Error | OSError) -> StorageError:
    """Return the store's error for one of SQLite about the file at `path`."""
    text = str(error)
    if "is full" in text or (isinstance(error, sqlite3.OperationalError) and _disk_full(path)):
        return StorageFullError(
            f"No room left for the database {path}; free space on that file system and try again"
        )
    if "locked" in text:
        return StorageError(f"Database {path} is locked by another process; try again")
    if "not a database" in text or "malformed" in text:
        return StorageError(
            f"{path} is not a usable SQLite database ({text}); "
            "name another file, or restore it from a backup"
        )
    kind = StorageDiskError if "disk I/O error" in text else StorageError
    return kind(
        f"Database {path} cannot be used ({text}); "
        "check that the file and its directory can be read and written"
    )


def _disk_full(path: Path) -> bool:
    try:
        room = os.statvfs(path.parent)
    except OSError:
        return False
    no_more_files = room.f_files > 0 and room.f_favail == 0
    return room.f_bavail * room.f_frsize < _FULL_BELOW or no_more_files
