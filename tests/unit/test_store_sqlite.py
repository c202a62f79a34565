"""What only the SQLite store has to cope with: files, locks, a full disk."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool import PoolDocument
from metaserver.store import NewEvent, StorageError, StorageFullError, database
from metaserver.store.sqlite import SqliteStore

DOCUMENT = PoolDocument("cache", 1, SlotsPlacement.even([Shard("a")]))


def test_only_its_owner_may_read_the_file(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "meta.db").close()
    assert (tmp_path / "meta.db").stat().st_mode & 0o077 == 0


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no directory"):
        SqliteStore(tmp_path / "nowhere" / "meta.db")


def test_a_directory_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be used"):
        SqliteStore(tmp_path)


def test_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "meta.db"
    path.write_bytes(b"This is not a database, whatever its name says. " * 100)
    with pytest.raises(StorageError, match="not a usable SQLite database"):
        SqliteStore(path)


def test_a_newer_schema(tmp_path: Path) -> None:
    path = tmp_path / "meta.db"
    SqliteStore(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StorageError, match="upgrade cachemesh"):
        SqliteStore(path)


def test_an_older_schema(tmp_path: Path) -> None:
    path = tmp_path / "meta.db"
    store = SqliteStore(path)
    created = store.create_document(DOCUMENT, NewEvent("pool.create"))
    store.close()
    with sqlite3.connect(path) as db:
        for table in ("failovers", "work", "seen"):
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version = 1")
    db.close()
    store = SqliteStore(path)
    assert store.document("cache") == created
    assert store.failovers() == ()
    store.close()


def test_a_lock_of_another_process_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_WAIT", 0.3)
    store = SqliteStore(tmp_path / "meta.db")
    other = sqlite3.connect(tmp_path / "meta.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="locked by another process"):
        store.record_event(NewEvent("x"))
    assert store.events() == []
    other.execute("ROLLBACK")
    other.close()
    store.record_event(NewEvent("x"))
    store.close()


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "meta.db"
    store = SqliteStore(path)
    created = store.create_document(DOCUMENT, NewEvent("pool.create"))
    assert created is not None
    fill(store)
    huge = created.replace(extra={"much": "x" * 100_000})
    for attempt in range(3):
        with pytest.raises(StorageFullError, match="free space"):
            store.put_document(huge, 1, NewEvent(f"put {attempt}"))
    assert store.document("cache") == created
    assert [event.action for event in store.events()] == ["pool.create"]
    store.close()
    again = SqliteStore(path)
    assert again.document("cache") == created
    assert again.put_document(huge, 1, NewEvent("put")) is not None
    again.close()


def fill(store: SqliteStore) -> None:
    """Let the file have no page more than it has: SQLite then says what it says on a full disk."""
    with store._database.read() as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
    store._database._db.execute(f"PRAGMA max_page_count = {pages}")
