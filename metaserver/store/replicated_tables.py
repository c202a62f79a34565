"""The tables of a store in memory, in parts that another place keeps: what a write has changed.

    write:   BEGIN --statements--> parts that changed, as rows --ROLLBACK
    apply:   BEGIN --parts replaced--> COMMIT

The statements of `SqliteStore` run here unchanged. Triggers note which parts they touch; what they
wrote is taken out and rolled back, and is applied only once it is kept elsewhere.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from metaserver.store.sqlite_schema import UPGRADES

Part: TypeAlias = "tuple[str, str]"
"""Name of a table, and which part of it."""

Rows: TypeAlias = "list[dict[str, Any]]"

_PARTS = {
    "pools": "{row}name",
    # Few enough to read them one by one, and small enough for one znode.
    "events": "{row}id / 8",
    "sweeps": "{row}id",
    "intents": "{row}id",
    "masters": "{row}pool",
    "acks": "{row}owner",
    "quality": "{row}owner",
    "tokens": "{row}id",
    "former_digests": "{row}token",
    "failovers": "{row}id",
    "work": "{row}pool",
    "seen": "{row}pool",
    "progress": "{row}pool",
    "lead": "'lead'",
    "webhooks": "{row}name",
    "calls": "{row}id",
}
"""Table -> the SQL expression that tells the part of a row."""

TABLES = tuple(_PARTS)


_KINDS = {"TEXT": (str,), "INTEGER": (int,), "REAL": (int, float)}


def _part_of(table: str, row: Mapping[str, Any]) -> str:
    """Return the part of a row whose types are right, as the expression in `_PARTS` does."""
    column, _, divisor = _PARTS[table].removeprefix("{row}").partition(" / ")
    if column not in row:
        return column.strip("'")
    return str(int(row[column]) // int(divisor) if divisor else row[column])


@dataclass(frozen=True)
class Change:
    """What a transaction has written.

    Attributes:
        parts: every part that it touched, with all rows of the part.
        sequences: table -> the last id that it gave out.
    """

    parts: Mapping[Part, Rows]
    sequences: Mapping[str, int]


class ReplicatedTables:
    """The tables in memory. Greenlets do not switch inside a transaction; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA recursive_triggers = ON")  # so that REPLACE fires those of DELETE
        for statements in UPGRADES:
            for statement in statements:
                self._db.execute(statement)
        self._types = {table: self._types_of(table) for table in TABLES}
        self._columns = {t: tuple(name for name, *_ in types) for t, types in self._types.items()}
        self._note_changes()

    def _types_of(self, table: str) -> tuple[tuple[str, str, bool], ...]:
        """Return name and type of each column, and whether it needs a value."""
        info = self._db.execute(f"PRAGMA table_info({table})").fetchall()
        return tuple(
            (name, kind, bool(required or key)) for _, name, kind, required, _, key in info
        )

    def _note_changes(self) -> None:
        self._db.execute("CREATE TEMP TABLE changed (name TEXT, part TEXT)")
        for table, expression in _PARTS.items():
            for action, rows in (("INSERT", "NEW"), ("DELETE", "OLD"), ("UPDATE", "NEW OLD")):
                notes = "".join(
                    f"INSERT INTO changed VALUES ('{table}', "
                    f"CAST({expression.format(row=f'{row}.')} AS TEXT)); "
                    for row in rows.split()
                )
                self._db.execute(
                    f"CREATE TEMP TRIGGER {table}_{action} AFTER {action} ON main.{table}"
                    f" BEGIN {notes} END"
                )

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Begin a transaction that reads."""
        with self._lock:
            self._db.execute("BEGIN")
            try:
                yield self._db
            finally:
                self._db.rollback()

    @contextmanager
    def draft(self) -> Iterator[tuple[sqlite3.Connection, list[Change]]]:
        """Begin a transaction that is rolled back; its `Change` is appended to the list first.

        Nothing is appended if the block raises, or has touched no row.
        """
        with self._lock:
            self._db.execute("BEGIN")
            found: list[Change] = []
            try:
                yield self._db, found
                change = self._taken()
                if change.parts:
                    found.append(change)
            finally:
                self._db.rollback()

    def _taken(self) -> Change:
        touched = self._db.execute("SELECT DISTINCT name, part FROM changed").fetchall()
        sequences = self._db.execute("SELECT name, seq FROM sqlite_sequence").fetchall()
        parts = {(table, part): self._rows(table, part) for table, part in touched}
        return Change(parts, dict(sequences))

    def _rows(self, table: str, part: str) -> Rows:
        columns = self._columns[table]
        found = self._db.execute(
            f"SELECT {', '.join(columns)} FROM {table}"
            f" WHERE CAST({_PARTS[table].format(row='')} AS TEXT) = ? ORDER BY rowid",
            (part,),
        )
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]

    def apply(self, change: Change) -> None:
        """Replace these parts; columns that this release does not know are left out.

        Raises:
            sqlite3.Error, TypeError: a part is not rows of its table.
        """
        with self._lock:
            self._db.execute("BEGIN")
            try:
                for table, part in change.parts:
                    self._db.execute(
                        f"DELETE FROM {table}"
                        f" WHERE CAST({_PARTS[table].format(row='')} AS TEXT) = ?",
                        (part,),
                    )
                for (table, _part), rows in change.parts.items():
                    for row in rows:
                        self._insert(table, row)
                for table, last in change.sequences.items():
                    self._raise_sequence(table, last)
                self._db.execute("DELETE FROM changed")
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.rollback()

    def misfit(self, part: Part, rows: Rows) -> str | None:
        """Return why rows cannot stand in a part, None if they can."""
        table, name = part
        for row in rows:
            for column, kind, required in self._types[table]:
                value = row.get(column)
                if value is None and required:
                    return f"a row has no {column}"
                if value is not None and type(value) not in _KINDS[kind]:
                    return f"{column} of a row is of the wrong type"
            if _part_of(table, row) != name:
                return "a row belongs to another znode"
        return None

    def version_of(self, pool: str) -> int:
        """Return the version of a pool in memory, 0 without one."""
        with self.read() as db:
            row = db.execute("SELECT version FROM pools WHERE name = ?", (pool,)).fetchone()
        return 0 if row is None else int(row[0])

    def _insert(self, table: str, row: Mapping[str, Any]) -> None:
        columns = [name for name in self._columns[table] if name in row]
        marks = ", ".join("?" * len(columns))
        self._db.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})",
            [row[name] for name in columns],
        )

    def _raise_sequence(self, table: str, last: int) -> None:
        raised = self._db.execute(
            "UPDATE sqlite_sequence SET seq = ? WHERE name = ? AND seq < ?", (last, table, last)
        )
        if not raised.rowcount:
            self._db.execute(
                "INSERT INTO sqlite_sequence SELECT ?, ? WHERE NOT EXISTS"
                " (SELECT 1 FROM sqlite_sequence WHERE name = ?)",
                (table, last, table),
            )

    def close(self) -> None:
        """Free the memory. Idempotent."""
        with self._lock:
            self._db.close()


def encode_rows(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows as JSON."""
    return json.dumps(rows, separators=(",", ":")).encode()


def decode_rows(data: bytes) -> Rows:
    """Return the rows of `encode_rows`.

    Raises:
        ValueError: the bytes are no JSON of rows.
    """
    rows = json.loads(data)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("not a list of objects")
    return rows
