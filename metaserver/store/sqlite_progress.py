"""The sweeps, intents, failovers, masters and acknowledged versions of `SqliteStore`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping
from typing import Any

from metaserver.domain.audit_log import NewEvent
from metaserver.domain.pool_state import (
    Failover,
    Intent,
    NewFailover,
    NewIntent,
    Sweep,
    SweepState,
)
from metaserver.domain.resize import intents_of
from metaserver.store import sqlite_rows
from metaserver.store.sqlite_connection import Transactions
from metaserver.store.sqlite_documents import DocumentCache


class SqliteProgress:
    """The `ProgressStore` part of a store in `_database`."""

    _database: Transactions
    _documents: DocumentCache

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
            found = db.execute("SELECT pool, undoing FROM intents WHERE id = ?", (intent_id,))
            pool, undoing = found.fetchone() or (None, False)
            if pool is None or (not undoing and self._is_carried(db, pool, intent_id)):
                return False
            db.execute("UPDATE intents SET undoing = 1 WHERE id = ?", (intent_id,))
            return True

    def _is_carried(self, db: sqlite3.Connection, pool: str, intent_id: int) -> bool:
        """Return whether a resize is to complete the intent, or to give it up."""
        document = self._documents.read(db, pool)
        return document is not None and intent_id in intents_of(document)

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
            document = self._documents.read(db, failover.pool)
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
            return Failover(id=row.lastrowid or 0, saved_settings={}, **vars(failover))

    def failovers(self) -> tuple[Failover, ...]:
        with self._database.read() as db:
            return sqlite_rows.failovers(db)

    def update_failover(
        self,
        failover_id: int,
        *,
        saved_settings: Mapping[str, Any] | None = None,
        owner: str | None = None,
    ) -> bool:
        with self._database.write() as db:
            done = db.execute(
                "UPDATE failovers SET notes = coalesce(?, notes), owner = coalesce(?, owner)"
                " WHERE id = ?",
                (
                    None if saved_settings is None else json.dumps(saved_settings),
                    owner,
                    failover_id,
                ),
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

    def publish_acks(self, owner: str, acks: Mapping[str, Any]) -> None:
        text = json.dumps(acks, separators=(",", ":"))
        with self._database.write() as db:
            db.execute("INSERT OR REPLACE INTO acks VALUES (?, ?)", (owner, text))

    def acks(self) -> Mapping[str, Mapping[str, Any]]:
        with self._database.read() as db:
            found = db.execute("SELECT owner, lowest FROM acks")
            return {owner: json.loads(text) for owner, text in found.fetchall()}

    def forget_acks(self, owner: str) -> None:
        with self._database.write() as db:
            db.execute("DELETE FROM acks WHERE owner = ?", (owner,))

    def publish_quality(
        self, owner: str, quality: Mapping[str, Any], *, alive: Collection[str]
    ) -> None:
        text = json.dumps(quality, separators=(",", ":"))
        with self._database.write() as db:
            known = [each for (each,) in db.execute("SELECT owner FROM quality").fetchall()]
            gone = [each for each in known if each != owner and each not in alive]
            db.executemany("DELETE FROM quality WHERE owner = ?", [(each,) for each in gone])
            db.execute("INSERT OR REPLACE INTO quality VALUES (?, ?)", (owner, text))

    def published_quality(self) -> Mapping[str, Mapping[str, Any]]:
        with self._database.read() as db:
            found = db.execute("SELECT owner, published FROM quality")
            return {owner: json.loads(text) for owner, text in found.fetchall()}
