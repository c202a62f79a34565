"""The SQLite file below `SqliteStore`: opening, schema, transactions, errors.

    greenlets --lock--> one connection --BEGIN IMMEDIATE--> FILE <-- other processes' connections
                                                            FILE-wal, FILE-shm

Nothing here switches greenlets inside a transaction, so one connection serves them all.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path

from metaserver.store import StorageError, StorageFullError

SCHEMA_VERSION = 3
LOCK_WAIT = 5.0  # seconds that a transaction waits for other processes
_BUSY = 0.1  # seconds that SQLite itself waits: it blocks the whole process meanwhile
_FULL_BELOW = 64 * 1024  # bytes free under which an I/O error counts as a full disk

_SCHEMA = (
    # A deleted pool stays as a row without document, so that its version never goes down.
    "CREATE TABLE pools (name TEXT PRIMARY KEY, version INTEGER NOT NULL, document TEXT)",
    """CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL,
        actor TEXT NOT NULL, action TEXT NOT NULL, pool TEXT, target TEXT,
        detail TEXT NOT NULL, before TEXT, after TEXT)""",
    "CREATE INDEX events_by_pool ON events (pool, id)",
    """CREATE TABLE sweeps (id INTEGER PRIMARY KEY AUTOINCREMENT, pool TEXT NOT NULL,
        shard TEXT NOT NULL, master TEXT, version INTEGER NOT NULL, drained INTEGER NOT NULL,
        state TEXT NOT NULL, removed INTEGER NOT NULL, detail TEXT NOT NULL,
        created REAL NOT NULL, UNIQUE (pool, shard))""",
    """CREATE TABLE intents (id INTEGER PRIMARY KEY AUTOINCREMENT, pool TEXT NOT NULL,
        shard TEXT NOT NULL, master TEXT NOT NULL, action TEXT NOT NULL,
        sentinels TEXT NOT NULL, owner TEXT NOT NULL, undoing INTEGER NOT NULL,
        created REAL NOT NULL)""",
    """CREATE TABLE masters (pool TEXT NOT NULL, shard TEXT NOT NULL, address TEXT NOT NULL,
        PRIMARY KEY (pool, shard))""",
    "CREATE TABLE acks (owner TEXT PRIMARY KEY, lowest TEXT NOT NULL)",
    """CREATE TABLE tokens (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL,
        digest TEXT NOT NULL UNIQUE, created TEXT NOT NULL, last_used TEXT)""",
    "CREATE TABLE probe (id INTEGER PRIMARY KEY CHECK (id = 1), count INTEGER NOT NULL)",
    "INSERT INTO probe VALUES (1, 0)",
)
_SINCE_2 = (
    """CREATE TABLE failovers (id INTEGER PRIMARY KEY AUTOINCREMENT, pool TEXT NOT NULL,
        shard TEXT NOT NULL UNIQUE, master TEXT NOT NULL, sentinels TEXT NOT NULL,
        owner TEXT NOT NULL, notes TEXT NOT NULL)""",
)
_SINCE_3 = (
    """CREATE TABLE work (id INTEGER PRIMARY KEY AUTOINCREMENT, pool TEXT NOT NULL,
        shard TEXT NOT NULL, kind TEXT NOT NULL, began REAL NOT NULL, within REAL NOT NULL,
        UNIQUE (pool, shard))""",
    "CREATE TABLE seen (pool TEXT PRIMARY KEY, seen TEXT NOT NULL)",
)
_UPGRADES = (_SCHEMA, _SINCE_2, _SINCE_3)
"""What leads from each version to the next; 0 is an empty file."""


class Database:
    """One connection to the SQLite file at `path`, made ready.

    Raises:
        StorageError: the file or its directory cannot be written, is not a SQLite database, or
            was written by a newer release.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._own_changes = 0
        self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        if not self.path.parent.is_dir():
            raise StorageError(
                f"Database {self.path}: there is no directory {self.path.parent}; create it"
            )
        try:
            new = not self.path.exists()
            db = sqlite3.connect(
                self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False
            )
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

    def _prepare(self, db: sqlite3.Connection) -> None:
        self._execute_patiently(db, "PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        self._execute_patiently(db, "BEGIN IMMEDIATE")
        try:
            (found,) = db.execute("PRAGMA user_version").fetchone()
            if found > SCHEMA_VERSION:
                raise StorageError(
                    f"Database {self.path} has schema {found}, this release reads up to "
                    f"{SCHEMA_VERSION}; upgrade cachemesh or use the database of this release"
                )
            for statements in _UPGRADES[found:]:
                for statement in statements:
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")

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
        """One consistent view of the data.

        Raises:
            StorageError: it cannot be read.
        """
        with self._transaction("BEGIN") as db:
            yield db

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other process's transaction overlaps; all or nothing.

        Raises:
            StorageFullError: no room.
            StorageError: it cannot be written.
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
            db = self._db
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

    def change_marker(self) -> Hashable:
        """Another value after each change: own ones are counted, `data_version` tells of others.

        See https://sqlite.org/pragma.html#pragma_data_version.
        """
        with self._lock:
            try:
                (others,) = self._db.execute("PRAGMA data_version").fetchone()
            except sqlite3.Error as error:
                raise self._translated(error) from error
            return self._own_changes, others

    def check_writable(self) -> None:
        """Raises StorageError unless a row can be written and committed.

        Only other processes' markers count it as a change.
        """
        with self._transaction("BEGIN IMMEDIATE") as db:
            db.execute("UPDATE probe SET count = 1 - count")

    def close(self) -> None:
        """Close the file. Idempotent."""
        with self._lock:
            self._db.close()

    def _translated(self, error: sqlite3.Error | OSError) -> StorageError:
        text = str(error)
        if "is full" in text or (isinstance(error, sqlite3.OperationalError) and self._disk_full()):
            return StorageFullError(
                f"No room left for the database {self.path}; free space on that file system and "
                "try again"
            )
        if "locked" in text:
            return StorageError(
                f"Database {self.path} was locked by another process for {LOCK_WAIT:g} s; try again"
            )
        if "not a database" in text or "malformed" in text:
            return StorageError(
                f"{self.path} is not a usable SQLite database ({text}); "
                "name another file, or restore it from a backup"
            )
        return StorageError(
            f"Database {self.path} cannot be used ({text}); "
            "check that the file and its directory can be read and written"
        )

    def _disk_full(self) -> bool:
        try:
            room = os.statvfs(self.path.parent)
        except OSError:
            return False
        return room.f_bavail * room.f_frsize < _FULL_BELOW
