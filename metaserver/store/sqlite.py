"""`Store` in one SQLite file: one node, any number of processes."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cachemesh.core.pool.document import PoolDocument
from metaserver.store import (
    Event,
    Failover,
    Intent,
    NewEvent,
    NewFailover,
    NewIntent,
    NewSweep,
    PoolState,
    Sweep,
    SweepState,
    sqlite_rows,
)
from metaserver.store.sqlite_connection import Database
from metaserver.store.sqlite_observed import SqliteObserved
from metaserver.store.sqlite_tokens import SqliteTokens


class SqliteStore(SqliteObserved, SqliteTokens):
    """A `Store` on the SQLite file at `path`, created if need be.

    Raises:
        StorageError: the file cannot be used as the store's database.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        # A version never stands for two documents, so what was parsed once stays right.
        self._parsed: dict[str, PoolDocument] = {}

    # Documents

    def document(self, pool: str) -> PoolDocument | None:
        with self._database.read() as db:
            return self._document(db, pool)

    def documents(self) -> tuple[PoolDocument, ...]:
        with self._database.read() as db:
            names = db.execute("SELECT name FROM pools WHERE document IS NOT NULL ORDER BY name")
            found = [self._document(db, name) for (name,) in names.fetchall()]
            documents = tuple(document for document in found if document is not None)
            self._parsed = {document.pool: document for document in documents}
        return documents

    def versions(self) -> Mapping[str, int]:
        with self._database.read() as db:
            found = db.execute("SELECT name, version FROM pools WHERE document IS NOT NULL")
            return dict(found.fetchall())

    def state(self, pool: str) -> PoolState | None:
        with self._database.read() as db:
            document = self._document(db, pool)
            if document is None:
                return None
            masters = db.execute("SELECT shard, address FROM masters WHERE pool = ?", (pool,))
            return PoolState(
                document,
                sqlite_rows.sweeps(db, pool),
                dict(masters.fetchall()),
                sqlite_rows.work(db, pool),
                {each.shard: each for each in sqlite_rows.failovers(db) if each.pool == pool},
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
            return self._save(db, document, version + 1, event, intents)

    def put_document(
        self,
        document: PoolDocument,
        expected_version: int,
        event: NewEvent,
        *,
        sweeps: Sequence[NewSweep] = (),
        masters: Mapping[str, str] | None = None,
        intents: Sequence[int] = (),
    ) -> PoolDocument | None:
        pool = document.pool
        with self._database.write() as db:
            if not sqlite_rows.is_at(db, pool, expected_version) or not sqlite_rows.intents_open(
                db, intents
            ):
                return None
            if sqlite_rows.failing_over(db, pool, staying=document.placement.names):
                return None
            before = self._document(db, pool)
            names = document.placement.names
            had = before.placement.names if before is not None else ()
            saved = self._save(db, document, expected_version + 1, event, intents)
            sqlite_rows.begin_joining(db, pool, [name for name in names if name not in had])
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
            for table in ("masters", "work", "seen"):
                db.execute(f"DELETE FROM {table} WHERE pool = ?", (pool,))
            db.execute("UPDATE intents SET undoing = 1 WHERE pool = ?", (pool,))
            sqlite_rows.log(db, event)
            return tuple(sqlite_rows.insert_intent(db, intent, undoing=True) for intent in intents)

    def record_event(self, event: NewEvent) -> Event:
        with self._database.write() as db:
            return sqlite_rows.log(db, event)

    def events(self, pool: str | None = None, *, after: int = 0, limit: int = 100) -> list[Event]:
        with self._database.read() as db:
            found = db.execute(
                f"SELECT {sqlite_rows.EVENT} FROM events WHERE id > ? AND (? IS NULL OR pool = ?)"
                " ORDER BY id DESC LIMIT ?",
                (after, pool, pool, limit),
            )
            return [sqlite_rows.event(row) for row in found.fetchall()]

    def change_marker(self) -> Hashable:
        return self._database.change_marker()

    # Sweeps, intents, masters

    def sweeps(self, pool: str | None = None) -> tuple[Sweep, ...]:
        with self._database.read() as db:
            return sqlite_rows.sweeps(db, pool)

    def update_sweep(
        self,
        sweep_id: int,
        *,
        state: SweepState | None = None,
        removed: int | None = None,
        detail: str | None = None,
    ) -> bool:
        with self._database.write() as db:
            done = db.execute(
                "UPDATE sweeps SET state = coalesce(?, state), removed = coalesce(?, removed),"
                " detail = coalesce(?, detail) WHERE id = ?",
                (state, removed, detail, sweep_id),
            )
            return done.rowcount > 0

    def finish_sweep(self, sweep_id: int, event: NewEvent) -> bool:
        with self._database.write() as db:
            row = db.execute(
                f"SELECT {sqlite_rows.SWEEP} FROM sweeps WHERE id = ?", (sweep_id,)
            ).fetchone()
            if row is None:
                return False
            sweep = sqlite_rows.sweep(row)
            db.execute("DELETE FROM sweeps WHERE id = ?", (sweep_id,))
            if sweep.drained:
                db.execute(
                    "DELETE FROM masters WHERE pool = ? AND shard = ?", (sweep.pool, sweep.shard)
                )
            sqlite_rows.log(db, event)
            return True

    def add_intent(self, intent: NewIntent) -> Intent | None:
        with self._database.write() as db:
            taken = db.execute(
                "SELECT 1 FROM intents WHERE shard = ? OR (master = ? AND master <> '')"
                " UNION SELECT 1 FROM failovers WHERE shard = ?",
                (intent.shard, intent.master, intent.shard),
            )
            if taken.fetchone():
                return None
            return sqlite_rows.insert_intent(db, intent, undoing=False)

    def intents(self) -> tuple[Intent, ...]:
        with self._database.read() as db:
            found = db.execute(f"SELECT {sqlite_rows.INTENT} FROM intents ORDER BY id")
            return tuple(sqlite_rows.intent(row) for row in found.fetchall())

    def claim_intent(self, intent_id: int) -> bool:
        with self._database.write() as db:
            done = db.execute("UPDATE intents SET undoing = 1 WHERE id = ?", (intent_id,))
            return done.rowcount > 0

    def finish_intent(self, intent_id: int, event: NewEvent | None = None) -> bool:
        with self._database.write() as db:
            if not db.execute("DELETE FROM intents WHERE id = ?", (intent_id,)).rowcount:
                return False
            if event is not None:
                sqlite_rows.log(db, event)
            return True

    def begin_failover(self, failover: NewFailover, *, within: float = 30.0) -> Failover | None:
        shard = failover.shard
        with self._database.write() as db:
            document = self._document(db, failover.pool)
            taken = db.execute(
                "SELECT 1 FROM intents WHERE shard = ?"
                " UNION SELECT 1 FROM failovers WHERE shard = ?",
                (shard, shard),
            )
            if document is None or shard not in document.placement.names or taken.fetchone():
                return None
            sentinels = json.dumps(failover.sentinels)
            row = db.execute(
                "INSERT INTO failovers (pool, shard, master, sentinels, owner, notes)"
                " VALUES (?, ?, ?, ?, ?, '{}')",
                (failover.pool, shard, failover.master, sentinels, failover.owner),
            )
            sqlite_rows.begin_work(db, failover.pool, shard, "failing over", within)
            return Failover(id=row.lastrowid or 0, notes={}, **vars(failover))

    def failovers(self) -> tuple[Failover, ...]:
        with self._database.read() as db:
            return sqlite_rows.failovers(db)

    def note_failover(
        self, failover_id: int, *, notes: Mapping[str, Any] | None = None, owner: str | None = None
    ) -> bool:
        with self._database.write() as db:
            done = db.execute(
                "UPDATE failovers SET notes = coalesce(?, notes), owner = coalesce(?, owner)"
                " WHERE id = ?",
                (None if notes is None else json.dumps(notes), owner, failover_id),
            )
            return done.rowcount > 0

    def end_failover(self, failover_id: int, event: NewEvent, *, master: str) -> bool:
        with self._database.write() as db:
            row = db.execute(
                "SELECT pool, shard, master FROM failovers WHERE id = ?", (failover_id,)
            )
            found = row.fetchone()
            if found is None:
                return False
            pool, shard, before = found
            db.execute("DELETE FROM failovers WHERE id = ?", (failover_id,))
            if master == before:
                sqlite_rows.end_work(db, pool, [shard])
            sqlite_rows.keep_masters(db, pool, {shard: master})
            sqlite_rows.log(db, event)
            return True

    def remember_master(self, pool: str, shard: str, address: str) -> None:
        if self.last_master(pool, shard) == address:
            return
        with self._database.write() as db:
            db.execute(
                "INSERT OR REPLACE INTO masters SELECT name, ?, ? FROM pools"
                " WHERE name = ? AND document IS NOT NULL",
                (shard, address, pool),
            )

    def last_master(self, pool: str, shard: str) -> str | None:
        with self._database.read() as db:
            row = db.execute(
                "SELECT address FROM masters WHERE pool = ? AND shard = ?", (pool, shard)
            ).fetchone()
            return None if row is None else str(row[0])

    def last_masters(self) -> Mapping[tuple[str, str], str]:
        with self._database.read() as db:
            found = db.execute("SELECT pool, shard, address FROM masters")
            return {(pool, shard): address for pool, shard, address in found.fetchall()}

    def publish_acks(self, owner: str, lowest: Mapping[str, int]) -> None:
        with self._database.write() as db:
            db.execute("INSERT OR REPLACE INTO acks VALUES (?, ?)", (owner, json.dumps(lowest)))

    def acks(self) -> Mapping[str, Mapping[str, int]]:
        with self._database.read() as db:
            found = db.execute("SELECT owner, lowest FROM acks")
            return {owner: json.loads(lowest) for owner, lowest in found.fetchall()}

    def forget_acks(self, owner: str) -> None:
        with self._database.write() as db:
            db.execute("DELETE FROM acks WHERE owner = ?", (owner,))

    # Probes

    def check_writable(self) -> None:
        self._database.check_writable()

    def close(self) -> None:
        self._database.close()

    def _document(self, db: sqlite3.Connection, pool: str) -> PoolDocument | None:
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
