"""The tables of the SQLite file, and the upgrades of files that earlier releases wrote."""

from __future__ import annotations

SCHEMA_VERSION = 8

_SCHEMA = (
    # A deleted pool stays as a row without document, so that its version never goes down.
    "CREATE TABLE pools (name TEXT PRIMARY KEY, version INTEGER NOT NULL, document TEXT)",
    """CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL,
        actor TEXT NOT NULL, action TEXT NOT NULL, pool TEXT, target TEXT,
        detail TEXT NOT NULL, before TEXT, after TEXT)""",
    "CREATE INDEX events_by_pool ON events (pool, id)",
    """CREATE TABLE sweeps (id INTEGER PRIMARY KEY AUTOINCREMENT, pool TEXT NOT NULL,
        shard TEXT NOT NULL, master TEXT, version INTEGER NOT NULL, drained INTEGER NOT NULL,
        state TEXT NOT NULL, removed INTEGER NOT NULL, detail TEXT NOT NULL,
        created REAL NOT NULL, UNIQUE (pool, shard))""",
    """CREATE TABLE intents (id INTEGER PRIMARY KEY AUTOINCREMENT, pool TEXT NOT NULL,
        shard TEXT NOT NULL, master TEXT NOT NULL, action TEXT NOT NULL,
        sentinels TEXT NOT NULL, owner TEXT NOT NULL, undoing INTEGER NOT NULL,
        created REAL NOT NULL)""",
    """CREATE TABLE masters (pool TEXT NOT NULL, shard TEXT NOT NULL, address TEXT NOT NULL,
        PRIMARY KEY (pool, shard))""",
    "CREATE TABLE acks (owner TEXT PRIMARY KEY, lowest TEXT NOT NULL)",
    """CREATE TABLE tokens (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL,
        digest TEXT NOT NULL UNIQUE, created TEXT NOT NULL, last_used TEXT)""",
    "CREATE TABLE probe (id INTEGER PRIMARY KEY CHECK (id = 1), count INTEGER NOT NULL)",
    "INSERT INTO probe VALUES (1, 0)",
)
_SINCE_2 = (
    """CREATE TABLE failovers (id INTEGER PRIMARY KEY AUTOINCREMENT, pool TEXT NOT NULL,
        shard TEXT NOT NULL UNIQUE, master TEXT NOT NULL, sentinels TEXT NOT NULL,
        owner TEXT NOT NULL, notes TEXT NOT NULL)""",
)
_SINCE_3 = (
    """CREATE TABLE work (id INTEGER PRIMARY KEY AUTOINCREMENT, pool TEXT NOT NULL,
        shard TEXT NOT NULL, kind TEXT NOT NULL, began REAL NOT NULL, within REAL NOT NULL,
        UNIQUE (pool, shard))""",
    "CREATE TABLE seen (pool TEXT PRIMARY KEY, seen TEXT NOT NULL)",
)
_SINCE_4 = (
    # Of the term that began last; the owner is '' once it is over.
    """CREATE TABLE lead (id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL,
        owner TEXT NOT NULL, since TEXT NOT NULL)""",
    "INSERT INTO lead VALUES (1, 0, '', '')",
    "CREATE TABLE metaservers (owner TEXT PRIMARY KEY, address TEXT NOT NULL, since TEXT NOT NULL)",
    """CREATE TABLE calls (id INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT NOT NULL,
        key TEXT NOT NULL, request TEXT NOT NULL, owner TEXT NOT NULL, event INTEGER,
        version INTEGER, status INTEGER, answer TEXT, created REAL NOT NULL,
        UNIQUE (token, key))""",
)
_SINCE_5 = (
    "ALTER TABLE tokens ADD COLUMN pools TEXT",
    "ALTER TABLE tokens ADD COLUMN expires TEXT",
    """CREATE TABLE former_digests (digest TEXT PRIMARY KEY, token TEXT NOT NULL,
        until TEXT NOT NULL)""",
)
_SINCE_6 = ("CREATE TABLE quality (owner TEXT PRIMARY KEY, published TEXT NOT NULL)",)
_SINCE_7 = ("CREATE TABLE progress (pool TEXT PRIMARY KEY, published TEXT NOT NULL)",)
_SINCE_8 = (
    # The name is a digest of the URL.
    "CREATE TABLE webhooks (name TEXT PRIMARY KEY, position INTEGER NOT NULL)",
)
UPGRADES = (_SCHEMA, _SINCE_2, _SINCE_3, _SINCE_4, _SINCE_5, _SINCE_6, _SINCE_7, _SINCE_8)
"""The statements that lead from each version to the next; version 0 is an empty file."""
