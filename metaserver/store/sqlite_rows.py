"""Rows of the SQLite tables, to and from the values of `metaserver.domain`.

Callers hold a transaction.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from metaserver.domain.audit_log import Event, EventFilter, NewEvent
from metaserver.domain.pool_state import (
    JOINING_SECONDS,
    Failover,
    Intent,
    NewIntent,
    ShardWork,
    Sweep,
    WorkKind,
)
from metaserver.process.clock import rfc3339

SWEEP = "id, pool, shard, master, version, drained, state, removed, detail, created"
INTENT = "id, pool, shard, master, action, sentinels, owner, undoing, created"
FAILOVER = "id, pool, shard, master, sentinels, owner, notes"
EVENT = "id, at, actor, action, pool, target, detail, before, after"
WORK = "id, shard, kind, began, within"
TOKEN = "id, name, role, created, last_used, pools, expires"


def is_at(db: sqlite3.Connection, pool: str, version: int) -> bool:
    """Return whether the pool exists at this version."""
    row = db.execute(
        "SELECT 1 FROM pools WHERE name = ? AND version = ? AND document IS NOT NULL",
        (pool, version),
    )
    return row.fetchone() is not None


def intents_open(db: sqlite3.Connection, intents: Sequence[int]) -> bool:
    """Return whether all these intents exist and none is being undone."""
    marks = ", ".join("?" * len(intents))
    rows = db.execute(
        f"SELECT count(*) FROM intents WHERE undoing = 0 AND id IN ({marks})", tuple(intents)
    )
    return bool(rows.fetchone()[0] == len(intents))


def failing_over(db: sqlite3.Connection, pool: str, staying: Collection[str] = ()) -> bool:
    """Return whether a shard of the pool, not one of `staying`, has a failover under way."""
    rows = db.execute("SELECT shard FROM failovers WHERE pool = ?", (pool,))
    return any(shard not in staying for (shard,) in rows.fetchall())


def insert_intent(db: sqlite3.Connection, intent: NewIntent, *, undoing: bool) -> Intent:
    """Add an intent."""
    created = time.time()
    row = db.execute(
        "INSERT INTO intents (pool, shard, master, action, sentinels, owner, undoing, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            intent.pool,
            intent.shard,
            intent.master,
            intent.action,
            json.dumps(intent.sentinels),
            intent.owner,
            undoing,
            created,
        ),
    )
    return Intent(id=row.lastrowid or 0, undoing=undoing, created=created, **vars(intent))


def keep_masters(db: sqlite3.Connection, pool: str, masters: Mapping[str, str]) -> None:
    """Store the last known masters, by shard name."""
    db.executemany(
        "INSERT OR REPLACE INTO masters VALUES (?, ?, ?)",
        [(pool, shard, address) for shard, address in masters.items()],
    )


def begin_work(
    db: sqlite3.Connection, pool: str, shard: str, kind: WorkKind, within: float
) -> None:
    """Store work on a shard, in place of any other work on it."""
    db.execute(
        "INSERT OR REPLACE INTO work (pool, shard, kind, began, within) VALUES (?, ?, ?, ?, ?)",
        (pool, shard, kind, time.time(), within),
    )


def begin_joining(db: sqlite3.Connection, pool: str, shards: Collection[str]) -> None:
    """Store the work `joining` for shards that are new to the pool."""
    for shard in shards:
        begin_work(db, pool, shard, "joining", JOINING_SECONDS)


def end_work(db: sqlite3.Connection, pool: str, shards: Collection[str]) -> None:
    """Delete the work on these shards."""
    db.executemany(
        "DELETE FROM work WHERE pool = ? AND shard = ?", [(pool, shard) for shard in shards]
    )


def work(db: sqlite3.Connection, pool: str) -> dict[str, ShardWork]:
    """Return the work on shards of a pool, by shard name."""
    found = db.execute(f"SELECT {WORK} FROM work WHERE pool = ?", (pool,))
    return {row[1]: ShardWork(*row) for row in found.fetchall()}


def progress(db: sqlite3.Connection, pool: str) -> Mapping[str, Any] | None:
    """Return what was published of the move of keys of a pool, or None."""
    row = db.execute("SELECT published FROM progress WHERE pool = ?", (pool,)).fetchone()
    return None if row is None else dict(json.loads(row[0]))


def newest_to_prune(db: sqlite3.Connection, keep: int, since: str) -> int | None:
    """Return the id up to which events are too many or too old, or None if there are none.

    Both queries walk the index of ids and stop at the first row, so that they are cheap.
    """
    beyond = "SELECT id FROM events ORDER BY id DESC LIMIT 1 OFFSET ?"
    young = "SELECT id FROM events WHERE at >= ? ORDER BY id LIMIT 1"
    before = "SELECT max(id) FROM events WHERE id < coalesce((" + young + "), id + 1)"
    ends = [
        row[0]
        for row in (
            db.execute(beyond, (keep,)).fetchone(),
            db.execute(before, (since,)).fetchone(),
        )
        if row is not None and row[0] is not None
    ]
    return max(ends, default=None)


def log(db: sqlite3.Connection, event: NewEvent, *, target: str | None = None) -> Event:
    """Append an event to the audit log; `target` replaces that of the event."""
    fields = {"at": rfc3339(), **vars(event)}
    if target is not None:
        fields["target"] = target
    values = fields | {"before": _dumped(event.before), "after": _dumped(event.after)}
    row = db.execute(
        f"INSERT INTO events ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
        tuple(values.values()),
    )
    return Event(id=row.lastrowid or 0, **fields)


def _dumped(value: Mapping[str, object] | None) -> str | None:
    return None if value is None else json.dumps(value, separators=(",", ":"))


def _loaded(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def event(row: Sequence[Any]) -> Event:
    """Return the event in a row of EVENT."""
    event_id, at, actor, action, pool, target, detail, before, after = row
    return Event(event_id, at, actor, action, pool, target, detail, _loaded(before), _loaded(after))


def events(
    db: sqlite3.Connection,
    pool: str | None,
    after: int,
    before: int | None,
    limit: int,
    only: EventFilter,
) -> list[Event]:
    """Return the newest events with an id above ``after`` and below ``before``, newest first."""
    conditions = ["id > ?"]
    given: list[str | int] = [after]
    if before is not None:
        conditions.append("id < ?")
        given.append(before)
    if pool is not None:
        conditions.append("pool = ?")
        given.append(pool)
    if only.shard is not None:
        conditions.append("(target = ? OR json_extract(after, '$.shard') = ?)")
        given += [only.shard, only.shard]
    if only.action is not None:
        conditions.append("(action = ? OR substr(action, 1, ?) = ?)")
        given += [only.action, len(only.action) + 1, f"{only.action}."]
    if only.since is not None:
        conditions.append("at >= ?")  # without its Z, which is above a fraction's point
        given.append(only.since.removesuffix("Z"))
    if only.text is not None:
        told = "actor || ' ' || action || ' ' || coalesce(target, '') || ' ' || detail"
        conditions.append(f"instr(lower({told}), lower(?))")
        given.append(only.text)
    found = db.execute(
        f"SELECT {EVENT} FROM events WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?",
        (*given, limit),
    )
    return [event(row) for row in found.fetchall()]


def next_events(db: sqlite3.Connection, after: int, limit: int) -> list[Event]:
    """Return the oldest events with an id above ``after``, oldest first."""
    found = db.execute(
        f"SELECT {EVENT} FROM events WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
    )
    return [event(row) for row in found.fetchall()]


def newest_event_id(db: sqlite3.Connection) -> int:
    """Return the id of the newest event that was ever logged, 0 if none was."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return 0 if row is None else int(row[0])


def sweeps(db: sqlite3.Connection, pool: str | None) -> tuple[Sweep, ...]:
    """Return the sweeps of a pool (None: of all), oldest first."""
    rows = db.execute(
        f"SELECT {SWEEP} FROM sweeps WHERE ? IS NULL OR pool = ? ORDER BY id", (pool, pool)
    )
    return tuple(sweep(row) for row in rows.fetchall())


def sweep(row: Sequence[Any]) -> Sweep:
    """Return the sweep in a row of SWEEP."""
    sweep_id, pool, shard, master, version, drained, *rest = row
    return Sweep(sweep_id, pool, shard, master, version, bool(drained), *rest)


def intent(row: Sequence[Any]) -> Intent:
    """Return the intent in a row of INTENT."""
    intent_id, pool, shard, master, action, sentinels, owner, undoing, created = row
    return Intent(
        intent_id,
        pool,
        shard,
        master,
        action,
        tuple(json.loads(sentinels)),
        owner,
        bool(undoing),
        created,
    )


def failovers(db: sqlite3.Connection) -> tuple[Failover, ...]:
    """Return every failover, oldest first."""
    found = db.execute(f"SELECT {FAILOVER} FROM failovers ORDER BY id")
    return tuple(failover(row) for row in found.fetchall())


def failover(row: Sequence[Any]) -> Failover:
    """Return the failover in a row of FAILOVER."""
    failover_id, pool, shard, master, sentinels, owner, saved_settings = row
    return Failover(
        failover_id,
        pool,
        shard,
        master,
        tuple(json.loads(sentinels)),
        owner,
        json.loads(saved_settings),
    )
