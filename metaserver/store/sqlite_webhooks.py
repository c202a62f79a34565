"""Which events URLs have taken, of `SqliteStore`."""

from __future__ import annotations

from metaserver.domain.audit_log import Event
from metaserver.store import sqlite_rows
from metaserver.store.sqlite_connection import Transactions


class SqliteWebhooks:
    """The `WebhookStore` part of a store in `_database`."""

    _database: Transactions

    def next_events(self, after: int, *, limit: int) -> list[Event]:
        with self._database.read() as db:
            return sqlite_rows.next_events(db, after, limit)

    def newest_event_id(self) -> int:
        with self._database.read() as db:
            return sqlite_rows.newest_event_id(db)

    def webhook_position(self, name: str) -> int | None:
        with self._database.read() as db:
            row = db.execute("SELECT position FROM webhooks WHERE name = ?", (name,)).fetchone()
            return None if row is None else int(row[0])

    def keep_webhook_position(self, name: str, position: int) -> None:
        with self._database.write() as db:
            db.execute("INSERT OR REPLACE INTO webhooks VALUES (?, ?)", (name, position))
