"""`Store` in one SQLite file: on one machine, shared by any number of processes."""

from __future__ import annotations

from pathlib import Path

from metaserver.store.calls import CallId
from metaserver.store.leadership import SESSION_TIMEOUT
from metaserver.store.sqlite_calls import CallingDatabase, SqliteCalls
from metaserver.store.sqlite_connection import Database, Transactions
from metaserver.store.sqlite_documents import DocumentCache, SqliteDocuments
from metaserver.store.sqlite_election import FencedDatabase, SqliteElection, SqliteMembers
from metaserver.store.sqlite_observed import SqliteObserved
from metaserver.store.sqlite_progress import SqliteProgress
from metaserver.store.sqlite_tokens import SqliteTokens
from metaserver.store.sqlite_webhooks import SqliteWebhooks


class _Parts(
    SqliteDocuments,
    SqliteProgress,
    SqliteObserved,
    SqliteTokens,
    SqliteMembers,
    SqliteCalls,
    SqliteWebhooks,
):
    """A store that reads and writes through `database`; a `file` is shared with other stores."""

    def __init__(
        self,
        file: Database,
        database: Transactions,
        documents: DocumentCache,
        session_timeout: float,
    ) -> None:
        self._file = file
        self._database = database
        self._documents = documents
        self._session_timeout = session_timeout

    def election(self, owner: str) -> SqliteElection:
        return SqliteElection(self._file, owner, self._session_timeout)

    def fenced(self, epoch: int) -> _Parts:
        return self._through(FencedDatabase(self._database, epoch))

    def calling(self, call: CallId, owner: str) -> _Parts:
        return self._through(CallingDatabase(self._database, call, owner))

    def _through(self, database: Transactions) -> _Parts:
        return _Parts(self._file, database, self._documents, self._session_timeout)

    def check_writable(self) -> None:
        self._database.check_writable()

    def close(self) -> None:
        self._database.close()


class SqliteStore(_Parts):
    """A `Store` on the SQLite file at `path`, created if need be.

    Args:
        session_timeout: seconds without progress after which a leader has lost the lead; all
            processes on one file have to agree on it.

    Raises:
        StorageError: the file cannot be used as the store's database.
    """

    def __init__(self, path: Path, session_timeout: float = SESSION_TIMEOUT) -> None:
        file = Database(path)
        super().__init__(file, file, DocumentCache(), session_timeout)
