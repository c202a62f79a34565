"""The calls with an idempotency key, of `SqliteStore`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from metaserver.store import sqlite_rows
from metaserver.store.calls import CALL_AGE, CALLS_KEPT, CallId, RecordedCall
from metaserver.store.errors import CallTakenOverError
from metaserver.store.sqlite_connection import Transactions

_CALL = "request, owner, event, version, status, answer"


class CallingDatabase:
    """The transactions of one call on a database: those that log an event mark the call."""

    def __init__(self, database: Transactions, call: CallId, owner: str) -> None:
        self._database = database
        self._call = call
        self._owner = owner
        self.read = database.read

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Begin a transaction that writes.

        Raises:
            CallTakenOverError: the transaction logs an event, and the call has another owner.
            StorageError: as `Database.write`.
        """
        with self._database.write() as db:
            before = sqlite_rows.newest_event_id(db)
            yield db
            event = sqlite_rows.newest_event_id(db)
            if event != before:
                self._mark(db, event)

    def _mark(self, db: sqlite3.Connection, event: int) -> None:
        marked = db.execute(
            "UPDATE calls SET event = ?, version = (SELECT version FROM pools WHERE name ="
            " (SELECT pool FROM events WHERE id = ?)) WHERE token = ? AND key = ? AND owner = ?",
            (event, event, self._call.token, self._call.key, self._owner),
        )
        if not marked.rowcount:
            raise CallTakenOverError(
                "This call is carried out by another process; send it again with the same key"
            )

    def change_marker(self) -> Hashable:
        """Return a value that differs after each change."""
        return self._database.change_marker()

    def check_writable(self) -> None:
        """Raise StorageError unless a row can be written and committed."""
        self._database.check_writable()

    def close(self) -> None:
        """Do nothing: the database is closed by its own store."""


class SqliteCalls:
    """The `CallStore` part of a store in `_database`."""

    _database: Transactions

    def begin_call(self, call: CallId, request: str, owner: str) -> RecordedCall | None:
        with self._database.read() as db:
            found = _recorded(db, call)
        if found is not None:
            return found
        with self._database.write() as db:
            found = _recorded(db, call)
            if found is None:
                _forget_oldest(db)
                db.execute(
                    "INSERT INTO calls (token, key, request, owner, created)"
                    " VALUES (?, ?, ?, ?, ?)",
                    (call.token, call.key, request, owner, time.time()),
                )
            return found

    def take_call(self, call: CallId, owner: str, previous: str) -> bool:
        with self._database.write() as db:
            taken = db.execute(
                "UPDATE calls SET owner = ? WHERE token = ? AND key = ? AND owner = ?"
                " AND event IS NULL",
                (owner, call.token, call.key, previous),
            )
            return taken.rowcount > 0

    def end_call(self, call: CallId, owner: str, status: int, answer: str | None) -> None:
        mine = (call.token, call.key, owner)
        with self._database.write() as db:
            answered = db.execute(
                "UPDATE calls SET status = ?, answer = ? WHERE token = ? AND key = ?"
                " AND owner = ? AND event IS NOT NULL",
                (status, answer, *mine),
            )
            if not answered.rowcount:
                db.execute("DELETE FROM calls WHERE token = ? AND key = ? AND owner = ?", mine)


def _recorded(db: sqlite3.Connection, call: CallId) -> RecordedCall | None:
    row = db.execute(
        f"SELECT {_CALL} FROM calls WHERE token = ? AND key = ?", (call.token, call.key)
    ).fetchone()
    if row is None:
        return None
    request, owner, event_id, *rest = row
    found = db.execute(f"SELECT {sqlite_rows.EVENT} FROM events WHERE id = ?", (event_id,))
    logged = found.fetchone()
    event = None if logged is None else sqlite_rows.event(logged)
    return RecordedCall(request, owner, event_id is not None, event, *rest)


def _forget_oldest(db: sqlite3.Connection) -> None:
    db.execute(
        "DELETE FROM calls WHERE created < ? OR id <= (SELECT max(id) FROM calls) - ?",
        (time.time() - CALL_AGE, CALLS_KEPT - 1),
    )
