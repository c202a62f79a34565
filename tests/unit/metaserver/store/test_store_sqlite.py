"""The SQLite store: files, locks, a full disk."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.audit_log import NewEvent
from metaserver.store import CallId, StorageError, StorageFullError, sqlite_calls, sqlite_connection
from metaserver.store.sqlite import SqliteStore

ROOT = Path(__file__).resolve().parents[4]
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
    token = store.add_token("ops", "admin", "d1", NewEvent("token.create"))
    store.close()
    with sqlite3.connect(path) as db:
        since = ("failovers", "work", "seen", "lead", "metaservers", "calls", "former_digests")
        for table in (*since, "quality", "progress", "webhooks"):
            db.execute(f"DROP TABLE {table}")
        for column in ("pools", "expires"):
            db.execute(f"ALTER TABLE tokens DROP COLUMN {column}")
        db.execute("PRAGMA user_version = 1")
    db.close()
    store = SqliteStore(path)
    assert store.document("cache") == created
    assert store.failovers() == ()
    assert store.tokens() == (token,)
    store.close()


def test_a_lock_of_another_process_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_connection, "LOCK_WAIT", 0.3)
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


def limited(path: Path, script: str, bytes_: int) -> str:
    """Run Python on the store at `path` in a process that can write no file beyond this size."""
    code = f"""
import resource, sys
from pathlib import Path
from metaserver.domain.audit_log import NewEvent
from metaserver.store import StorageDiskError, StorageFullError
from metaserver.store.sqlite import SqliteStore

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

path = Path({str(path)!r})
limit({bytes_})
{textwrap.dedent(script)}
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("ended", ["closed", "killed"])
def test_opened_without_room(tmp_path: Path, ended: str) -> None:
    """All commits are read, also those in the write-ahead log alone; nothing can be written until
    there is room."""
    path = tmp_path / "meta.db"
    store = SqliteStore(path)
    created = store.create_document(DOCUMENT, NewEvent("pool.create"))
    if ended == "closed":
        store.close()
    else:  # the files as kill -9 leaves them
        kept = {file: file.read_bytes() for file in tmp_path.iterdir()}
        store.close()
        for file, data in kept.items():
            file.write_bytes(data)
        (tmp_path / "meta.db-shm").unlink()  # the worst case: there is no room for it either
        assert (tmp_path / "meta.db-wal").stat().st_size > 0
    said = limited(
        path,
        """
        store = SqliteStore(path)
        before = store.change_marker()
        print(store.document("cache").version, [event.action for event in store.events()])
        for attempt in range(3):
            try:
                store.record_event(NewEvent("lost"))
            except (StorageDiskError, StorageFullError) as error:
                print("refused:", error)
        limit(resource.RLIM_INFINITY)
        store.record_event(NewEvent("kept"))
        assert store.change_marker() != before
        print([event.action for event in store.events()])
        store.close()
        """,
        4096,
    ).splitlines()
    assert said[0] == "1 ['pool.create']"
    assert [line.startswith("refused: Database") for line in said[1:4]] == [True] * 3
    assert said[4] == "['kept', 'pool.create']"
    again = SqliteStore(path)
    assert again.document("cache") == created
    assert len(again.events()) == 2
    again.close()


def test_a_copy_is_left_as_soon_as_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that only reads returns to the file too, and sees what others wrote meanwhile."""
    path = tmp_path / "meta.db"
    SqliteStore(path).close()
    open_file = sqlite_connection.Database._open

    def no_room(_self: sqlite_connection.Database) -> sqlite3.Connection:
        raise StorageFullError("No room left")

    monkeypatch.setattr(sqlite_connection, "_REOPEN_EVERY", 0.0)
    monkeypatch.setattr(sqlite_connection.Database, "_open", no_room)
    store = SqliteStore(path)
    before = store.change_marker()
    assert store.events() == []
    with pytest.raises(StorageFullError, match="No room"):
        store.record_event(NewEvent("x"))
    monkeypatch.setattr(sqlite_connection.Database, "_open", open_file)
    other = SqliteStore(path)
    other.record_event(NewEvent("theirs"))
    assert [event.action for event in store.events()] == ["theirs"]
    assert store.change_marker() != before
    store.close()
    other.close()


def test_no_room_for_a_new_database(tmp_path: Path) -> None:
    said = limited(
        tmp_path / "meta.db",
        """
        try:
            SqliteStore(path)
        except (StorageDiskError, StorageFullError) as error:
            print(error)
        """,
        4096,
    )
    assert "meta.db" in said


def fill(store: SqliteStore) -> None:
    """Allow the file no further page: SQLite then fails as on a full disk."""
    with store._file.read() as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
    store._file._db.execute(f"PRAGMA max_page_count = {pages}")


def test_old_calls_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_calls, "CALLS_KEPT", 3)
    store = SqliteStore(tmp_path / "meta.db")
    for number in range(5):
        call = CallId("token-1", str(number))
        assert store.begin_call(call, "r", "x:1:1") is None
        store.calling(call, "x:1:1").record_event(NewEvent("x"))
    kept = [store.begin_call(CallId("token-1", str(n)), "r", "x:1:1") for n in (2, 3, 4, 1)]
    assert [each is not None for each in kept] == [True, True, True, False]
    store.close()
