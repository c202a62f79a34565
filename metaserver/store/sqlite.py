"""`Store` in one SQLite file: on one machine, shared by any number of processes."""

from __future__ import annotations

from pathlib import Path

from metaserver.store.sqlite_connection import Database
from metaserver.store.sqlite_documents import DocumentCache, SqliteDocuments
from metaserver.store.sqlite_observed import SqliteObserved
from metaserver.store.sqlite_progress import SqliteProgress
from metaserver.store.sqlite_tokens import SqliteTokens


class SqliteStore(SqliteDocuments, SqliteProgress, SqliteObserved, SqliteTokens):
    """A `Store` on the SQLite file at `path`, created if need be.

    Raises:
        StorageError: the file cannot be used as the store's database.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self._documents = DocumentCache()

    def check_writable(self) -> None:
        self._database.check_writable()

    def close(self) -> None:
        self._database.close()
