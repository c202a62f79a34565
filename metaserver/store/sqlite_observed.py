"""The work on shards, what was reported, and the bound of the audit log, of `SqliteStore`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from metaserver.domain.audit_log import NewEvent
from metaserver.domain.pool_state import ReportedState
from metaserver.store import sqlite_rows
from metaserver.store.sqlite_connection import Transactions


class SqliteObserved:
    """The `ObservedStore` part of a store in `_database`."""

    _database: Transactions

    def end_work(self, work_id: int) -> None:
        with self._database.write() as db:
            db.execute("DELETE FROM work WHERE id = ?", (work_id,))

    def reported_state(self, pool: str) -> ReportedState | None:
        with self._database.read() as db:
            row = db.execute("SELECT seen FROM seen WHERE pool = ?", (pool,)).fetchone()
            return None if row is None else ReportedState.from_dict(json.loads(row[0]))

    def report(self, pool: str, state: ReportedState, events: Sequence[NewEvent]) -> None:
        with self._database.write() as db:
            kept = db.execute(
                "INSERT OR REPLACE INTO seen SELECT name, ? FROM pools"
                " WHERE name = ? AND document IS NOT NULL",
                (json.dumps(asdict(state)), pool),
            )
            if kept.rowcount:
                for event in events:
                    sqlite_rows.log(db, event)

    def publish_progress(self, pool: str, progress: Mapping[str, Any]) -> None:
        text = json.dumps(progress, separators=(",", ":"))
        with self._database.write() as db:
            db.execute(
                "INSERT OR REPLACE INTO progress SELECT name, ? FROM pools"
                " WHERE name = ? AND document IS NOT NULL",
                (text, pool),
            )

    def prune_events(self, *, keep: int, since: str, at_most: int = 10_000) -> int:
        with self._database.read() as db:
            gone = sqlite_rows.newest_to_prune(db, keep, since)
        if gone is None:
            return 0
        with self._database.write() as db:
            done = db.execute(
                "DELETE FROM events WHERE id IN"
                " (SELECT id FROM events WHERE id <= ? ORDER BY id LIMIT ?)",
                (gone, at_most),
            )
            return done.rowcount
