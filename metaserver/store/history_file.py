"""The file with the figures of the last day, beside a metaserver's store or its first token.

It is no part of the store: it may be lost, and no change waits for it. Each level has so many slots
for the points of a series, and a point takes the place of the one that was written there a level's
time before, so that the file stops growing: at some 250 KB for each shard that was there of late.

    series: id -> pool, shard        points: level, slot, series -> a point

With a write-ahead log that is not flushed at each commit nothing waits for the disk, SIGKILL loses
nothing, and a power failure at most the last minutes (https://sqlite.org/wal.html).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from metaserver.domain.history import COARSE, HistoryLevel, HistoryPoint
from metaserver.store.errors import StorageError, StorageFullError
from metaserver.store.sqlite_connection import storage_error

SeriesName: TypeAlias = tuple[str, str]
"""A pool and a shard of it, or WHOLE_POOL."""

MOST_SERIES = 1000
"""So many pools and shards are kept; of further ones nothing is, until others are gone."""

_BUSY = 0.1  # seconds that SQLite waits for another process; it blocks this one meanwhile
_WAL_PAGES = 100  # after which the log is taken into the file: it stays below half a MB
_APPLICATION, _VERSION = 0x434D6869, 1  # what a file says that it is; another version begins anew
_VALUES = ", ".join(HistoryPoint._fields)
_BEGIN_ANEW = (
    "DROP TABLE IF EXISTS points",
    "DROP TABLE IF EXISTS series",
    """CREATE TABLE series (id INTEGER PRIMARY KEY, pool TEXT NOT NULL, shard TEXT NOT NULL,
        began INTEGER NOT NULL, seen INTEGER NOT NULL, UNIQUE (pool, shard))""",
    # In this order, what is written together stands together.
    f"""CREATE TABLE points (step INTEGER NOT NULL, slot INTEGER NOT NULL,
        series INTEGER NOT NULL, at INTEGER NOT NULL, {_VALUES},
        PRIMARY KEY (step, slot, series)) WITHOUT ROWID""",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_VERSION}",
)
_PUT = f"INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?{', ?' * len(HistoryPoint._fields)})"
_OF_SERIES = f"""
    WITH RECURSIVE wanted (at) AS
        (SELECT :begin UNION ALL SELECT at + :step FROM wanted WHERE at + :step < :end)
    SELECT points.at, {_VALUES} FROM wanted CROSS JOIN points
    WHERE step = :step AND slot = wanted.at / :step % :slots AND points.at = wanted.at
        AND series = (SELECT id FROM series WHERE pool = :pool AND shard = :shard)
    ORDER BY points.at"""
_OF_ALL = f"""
    SELECT pool, shard, {_VALUES} FROM points JOIN series ON series.id = points.series
    WHERE step = ? AND slot = ? AND at = ?"""


class HistoryFile:
    """Points of pools and shards in the SQLite file at `path`, which is opened when it is needed.

    Each method raises StorageError where the file cannot be used; the next call tries again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # that `_db` has opened

    def add(self, level: HistoryLevel, at: int, points: Mapping[SeriesName, HistoryPoint]) -> None:
        """Keep the points that begin at a time, in seconds since the epoch.

        A clock may be set back: what is told of a series then is of no later time than that.
        """
        with self._transaction("BEGIN IMMEDIATE") as db:
            ids = _known(db, points, at)
            db.executemany(
                _PUT,
                (
                    (level.step, level.slot(at), ids[name], at, *point)
                    for name, point in points.items()
                    if name in ids
                ),
            )
            db.executemany(
                "UPDATE series SET began = min(began, :at), seen = max(min(seen, :last), :at)"
                " WHERE id = :id",
                (
                    {"at": at, "last": at + COARSE.step, "id": ids[name]}
                    for name in points
                    if name in ids
                ),
            )

    def points(
        self, name: SeriesName, level: HistoryLevel, begin: int, end: float
    ) -> list[tuple[int, HistoryPoint]]:
        """Return the points of a series that begin in a time, each with when, oldest first.

        Those are left out that are older than points of the level are kept for.
        """
        begin = level.begin(max(begin, end - level.seconds) + level.step - 1)
        if begin >= end:
            return []
        wanted = {"begin": begin, "end": end, "step": level.step, "slots": level.points}
        with self._transaction("BEGIN") as db:
            rows = db.execute(_OF_SERIES, {**wanted, "pool": name[0], "shard": name[1]})
            return [(at, HistoryPoint(*row)) for at, *row in rows]

    def points_at(self, level: HistoryLevel, at: int) -> dict[SeriesName, HistoryPoint]:
        """Return the points of all series that begin at a time."""
        with self._transaction("BEGIN") as db:
            rows = db.execute(_OF_ALL, (level.step, level.slot(at), at))
            return {(pool, shard): HistoryPoint(*row) for pool, shard, *row in rows}

    def began(self, name: SeriesName) -> int | None:
        """Return when the first point of a series began, which may be gone; None without any."""
        with self._transaction("BEGIN") as db:
            row = db.execute(
                "SELECT began FROM series WHERE pool = ? AND shard = ?", name
            ).fetchone()
            return None if row is None else int(row[0])

    def newest(self) -> int | None:
        """Return when the newest point of all begins; None without any."""
        with self._transaction("BEGIN") as db:
            (at,) = db.execute("SELECT max(seen) FROM series").fetchone()
            return None if at is None else int(at)

    def forget(self, before: int) -> None:
        """Delete each series whose newest point began before a time."""
        with self._transaction("BEGIN IMMEDIATE") as db:
            old = "SELECT id FROM series WHERE seen < ?"
            if db.execute(old, (before,)).fetchone() is not None:
                db.execute(f"DELETE FROM points WHERE series IN ({old})", (before,))
                db.execute("DELETE FROM series WHERE seen < ?", (before,))

    def close(self) -> None:
        """Close the file, until it is needed again. Idempotent."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                db = self._opened()
                db.execute(begin)
                yield db
                db.execute("COMMIT")
            except (sqlite3.Error, OSError) as error:
                told = self._told(error)
                if not isinstance(told, StorageFullError):
                    self._close()  # an operator may have put another file in its place
                raise told from error
            finally:
                # SQLite ends the transaction itself after some errors, a full disk among them.
                if self._db is not None and self._db.in_transaction:
                    self._db.rollback()

    def _told(self, error: sqlite3.Error | OSError) -> StorageError:
        if "malformed" in str(error):
            return StorageError(
                f"{self.path} is damaged ({error}); remove it, and the history begins anew"
            )
        return storage_error(self.path, error)

    def _opened(self) -> sqlite3.Connection:
        if self._db is not None and _identity(self.path) != self._file:
            self._close()  # somebody has removed the file, or put another one in its place
        if self._db is None:
            new = not self.path.exists()
            if new:  # a log that was left behind would be taken into the new file
                for name in ("-wal", "-shm"):
                    Path(f"{self.path}{name}").unlink(missing_ok=True)
            db = sqlite3.connect(
                self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False
            )
            try:
                if new:
                    self.path.chmod(0o600)
                self._prepare(db)
            except (sqlite3.Error, OSError, StorageError):
                db.close()
                raise
            self._db, self._file = db, _identity(self.path)
        return self._db

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Make the tables of a file, unless they are there; refuse one with something else."""
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        empty = db.execute("SELECT 1 FROM sqlite_master").fetchone() is None
        if application != _APPLICATION and not empty:
            raise StorageError(
                f"{self.path} holds no history that this release can read; "
                "remove it, or name another file with --history-file"
            )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        if (application, version) != (_APPLICATION, _VERSION):
            db.execute("BEGIN IMMEDIATE")
            for statement in _BEGIN_ANEW:
                db.execute(statement)
            db.execute("COMMIT")


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of this name; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _known(
    db: sqlite3.Connection, names: Mapping[SeriesName, Any], at: int
) -> dict[SeriesName, int]:
    """Return the ids of all series, to which those of new names belong while there is room."""
    ids = {(pool, shard): number for pool, shard, number in db.execute(_IDS)}
    new = [name for name in names if name not in ids][: max(0, MOST_SERIES - len(ids))]
    if new:
        db.executemany(
            "INSERT INTO series (pool, shard, began, seen) VALUES (?, ?, ?, ?)",
            ((*name, at, at) for name in new),
        )
        ids = {(pool, shard): number for pool, shard, number in db.execute(_IDS)}
    return ids


_IDS = "SELECT pool, shard, id FROM series"
