"""What the metaserver remembers.

    contract            the promises of every store; another store has to keep them all
    sqlite              SqliteStore: the store in one SQLite file, of these parts:
      sqlite_documents  pool documents and the audit log
      sqlite_progress   sweeps, intents, failovers, masters, acknowledged versions
      sqlite_observed   work on shards, and what was reported
      sqlite_tokens     tokens
    sqlite_rows         rows of the tables, to and from the values of `metaserver.domain`
    sqlite_schema       the tables, and the upgrades from earlier releases
    sqlite_connection   the file: opening, transactions, errors

Imports `metaserver.domain` and `metaserver.process`; never `redis_io` or what serves requests.
"""

from metaserver.store.contract import (
    DocumentStore,
    ObservedStore,
    ProgressStore,
    Role,
    StorageDiskError,
    StorageError,
    StorageFullError,
    Store,
    Token,
    TokenStore,
)

__all__ = [
    "DocumentStore",
    "ObservedStore",
    "ProgressStore",
    "Role",
    "StorageDiskError",
    "StorageError",
    "StorageFullError",
    "Store",
    "Token",
    "TokenStore",
]
