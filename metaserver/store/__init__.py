"""What the metaserver remembers.

    contract            the promises of every store; another store has to keep them all
    leadership          part of the contract: which process leads, and which there are
    calls               part of the contract: calls with an idempotency key
    webhooks            part of the contract: which events were posted where
    errors              the errors of every store
    sqlite              SqliteStore: the store in one SQLite file, of these parts:
      sqlite_documents  pool documents and the audit log
      sqlite_progress   sweeps, intents, failovers, masters, acknowledged versions
      sqlite_observed   work on shards, and what was reported
      sqlite_tokens     tokens
      sqlite_election   which process leads: terms, beats, registered processes
      sqlite_calls      calls with an idempotency key
      sqlite_webhooks   which events URLs have taken
    sqlite_rows         rows of the tables, to and from the values of `metaserver.domain`
    zookeeper           ZookeeperStore: the same logic, on tables in memory that ZooKeeper keeps:
      zookeeper_database  transactions: drafted in memory, committed in ZooKeeper, then applied
      zookeeper_parts     the znodes of the tables: what is in them, whether it can be used
      zookeeper_head      the number of the last change, and what the last changes have written
      zookeeper_session   the connection; no call waits longer than its bound
      zookeeper_election  the leader and the live processes
      replicated_tables   the tables in memory, and which of their parts a write has touched
    opening             opens the store that the settings name
    history_file        the figures of the last day, in a file beside the store, no part of it
    sqlite_schema       the tables, and the upgrades from earlier releases
    sqlite_connection   the file: opening, transactions, errors

Imports `metaserver.domain` and `metaserver.process`; never `redis_io` or what serves requests.
"""

from metaserver.store.calls import CALL_AGE, CALLS_KEPT, CallId, CallStore, RecordedCall
from metaserver.store.contract import (
    DocumentStore,
    ObservedStore,
    ProgressStore,
    Role,
    Store,
    Token,
    TokenStore,
)
from metaserver.store.errors import (
    CallTakenOverError,
    DamagedPoolError,
    LostLeadError,
    StorageDiskError,
    StorageError,
    StorageFullError,
    UnsureError,
)
from metaserver.store.leadership import (
    SESSION_TIMEOUT,
    Election,
    ElectionStore,
    Lead,
    Leader,
    Metaserver,
)
from metaserver.store.webhooks import WebhookStore

__all__ = [
    "CALLS_KEPT",
    "CALL_AGE",
    "SESSION_TIMEOUT",
    "CallId",
    "CallStore",
    "CallTakenOverError",
    "DamagedPoolError",
    "DocumentStore",
    "Election",
    "ElectionStore",
    "Lead",
    "Leader",
    "LostLeadError",
    "Metaserver",
    "ObservedStore",
    "ProgressStore",
    "RecordedCall",
    "Role",
    "StorageDiskError",
    "StorageError",
    "StorageFullError",
    "Store",
    "Token",
    "TokenStore",
    "UnsureError",
    "WebhookStore",
]
