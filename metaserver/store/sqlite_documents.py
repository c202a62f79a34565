"""The pool documents and the audit log of `SqliteStore`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.audit_log import Event, EventFilter, NewEvent
from metaserver.domain.pool_state import Intent, NewIntent, NewSweep, PoolState
from metaserver.store import sqlite_rows
from metaserver.store.sqlite_connection import Transactions


class DocumentCache:
    """The parsed pool documents. A version never stands for two documents, so none gets stale."""

    def __init__(self) -> None:
        self._parsed: dict[str, PoolDocument] = {}

    def read(self, db: sqlite3.Connection, pool: str) -> PoolDocument | None:
        """Return the pool's document, or None if there is no such pool."""
        row = db.execute(
            "SELECT version FROM pools WHERE name = ? AND document IS NOT NULL", (pool,)
        ).fetchone()
        if row is None:
            return None
        known = self._parsed.get(pool)
        if known is None or known.version != row[0]:
            (text,) = db.execute("SELECT document FROM pools WHERE name = ?", (pool,)).fetchone()
            known = self._parsed[pool] = PoolDocument.from_json(text)
        return known

    def keep(self, documents: Iterable[PoolDocument]) -> None:
        """Forget all other documents."""
        self._parsed = {document.pool: document for document in documents}


class SqliteDocuments:
    """The `DocumentStore` part of a store in `_database`."""

    _database: Transactions
    _documents: DocumentCache

    def document(self, pool: str) -> PoolDocument | None:
        with self._database.read() as db:
            return self._documents.read(db, pool)

    def documents(self) -> tuple[PoolDocument, ...]:
        with self._database.read() as db:
            names = db.execute("SELECT name FROM pools WHERE document IS NOT NULL ORDER BY name")
            found = [self._documents.read(db, name) for (name,) in names.fetchall()]
            documents = tuple(document for document in found if document is not None)
            self._documents.keep(documents)
        return documents

    def damaged_pools(self) -> Mapping[str, str]:
        return {}  # the database is whole, or cannot be opened

    def versions(self) -> Mapping[str, int]:
        with self._database.read() as db:
            found = db.execute("SELECT name, version FROM pools WHERE document IS NOT NULL")
            return dict(found.fetchall())

    def state(self, pool: str) -> PoolState | None:
        with self._database.read() as db:
            document = self._documents.read(db, pool)
            if document is None:
                return None
            masters = db.execute("SELECT shard, address FROM masters WHERE pool = ?", (pool,))
            return PoolState(
                document,
                sqlite_rows.sweeps(db, pool),
                dict(masters.fetchall()),
                sqlite_rows.work(db, pool),
                {each.shard: each for each in sqlite_rows.failovers(db) if each.pool == pool},
                sqlite_rows.progress(db, pool),
            )

    def next_version(self, pool: str) -> int:
        with self._database.read() as db:
            row = db.execute("SELECT version FROM pools WHERE name = ?", (pool,)).fetchone()
            return 1 if row is None else int(row[0]) + 1

    def create_document(
        self,
        document: PoolDocument,
        event: NewEvent,
        *,
        masters: Mapping[str, str] | None = None,
        intents: Sequence[int] = (),
    ) -> PoolDocument | None:
        pool = document.pool
        with self._database.write() as db:
            row = db.execute("SELECT version, document FROM pools WHERE name = ?", (pool,))
            version, text = row.fetchone() or (0, None)
            if text is not None or not sqlite_rows.intents_open(db, intents):
                return None
            sqlite_rows.keep_masters(db, pool, masters or {})
            sqlite_rows.begin_joining(db, pool, document.placement.names)
            return self._save(db, document, max(version + 1, document.version), event, intents)

    def put_document(
        self,
        document: PoolDocument,
        expected_version: int,
        event: NewEvent,
        *,
        sweeps: Sequence[NewSweep] = (),
        masters: Mapping[str, str] | None = None,
        intents: Sequence[int] = (),
        joining: Collection[str] = (),
        carried: Collection[int] = (),
    ) -> PoolDocument | None:
        pool = document.pool
        with self._database.write() as db:
            if not sqlite_rows.is_at(db, pool, expected_version):
                return None
            if not sqlite_rows.intents_open(db, [*intents, *carried]):
                return None
            if sqlite_rows.failing_over(db, pool, staying=document.placement.names):
                return None
            before = self._documents.read(db, pool)
            names = document.placement.names
            had = before.placement.names if before is not None else ()
            version = max(expected_version + 1, document.version)
            saved = self._save(db, document, version, event, intents)
            sqlite_rows.begin_joining(
                db, pool, [*joining, *(name for name in names if name not in had)]
            )
            sqlite_rows.end_work(db, pool, [name for name in had if name not in names])
            for sweep in sweeps:
                db.execute(
                    "INSERT OR REPLACE INTO sweeps (pool, shard, master, version, drained, state,"
                    " removed, detail, created) VALUES (?, ?, ?, ?, ?, 'waiting', 0, '', ?)",
                    (pool, sweep.shard, sweep.master, saved.version, sweep.drained, time.time()),
                )
            sqlite_rows.keep_masters(db, pool, masters or {})
            return saved

    def delete_document(
        self,
        pool: str,
        expected_version: int,
        event: NewEvent,
        *,
        intents: Sequence[NewIntent] = (),
    ) -> tuple[Intent, ...] | None:
        with self._database.write() as db:
            if not sqlite_rows.is_at(db, pool, expected_version) or sqlite_rows.failing_over(
                db, pool
            ):
                return None
            db.execute(
                "UPDATE pools SET version = version + 1, document = NULL WHERE name = ?", (pool,)
            )
            db.execute("DELETE FROM sweeps WHERE pool = ?", (pool,))
            for table in ("masters", "work", "seen", "progress"):
                db.execute(f"DELETE FROM {table} WHERE pool = ?", (pool,))
            db.execute("UPDATE intents SET undoing = 1 WHERE pool = ?", (pool,))
            sqlite_rows.log(db, event)
            return tuple(sqlite_rows.insert_intent(db, intent, undoing=True) for intent in intents)

    def record_event(self, event: NewEvent) -> Event:
        with self._database.write() as db:
            return sqlite_rows.log(db, event)

    def events(
        self,
        pool: str | None = None,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 100,
        only: EventFilter | None = None,
    ) -> list[Event]:
        with self._database.read() as db:
            return sqlite_rows.events(db, pool, after, before, limit, only or EventFilter())

    def change_marker(self) -> Hashable:
        return self._database.change_marker()

    @staticmethod
    def _save(
        db: sqlite3.Connection,
        document: PoolDocument,
        version: int,
        event: NewEvent,
        intents: Sequence[int],
    ) -> PoolDocument:
        saved = document.replace(version=version)
        db.execute(
            "INSERT INTO pools VALUES (?, ?, ?) ON CONFLICT (name)"
            " DO UPDATE SET version = excluded.version, document = excluded.document",
            (saved.pool, version, saved.to_json()),
        )
        db.executemany("DELETE FROM intents WHERE id = ?", [(intent,) for intent in intents])
        sqlite_rows.log(db, event)
        return saved
