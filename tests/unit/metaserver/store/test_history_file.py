"""The file with the history: bounded, lasting, and refused where it is another one."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaserver.domain.history import FINE, WHOLE_POOL, HistoryLevel, HistoryPoint
from metaserver.store import StorageError, StorageFullError, history_file
from metaserver.store.history_file import HistoryFile
from metaserver.store.sqlite import SqliteStore

LEVEL = HistoryLevel(5, 6)
POOL, SHARD = ("cache", WHOLE_POOL), ("cache", "cache-0")


@pytest.fixture
def file(tmp_path: Path) -> HistoryFile:
    return HistoryFile(tmp_path / "meta.db.history")


def rows(file: HistoryFile) -> int:
    with sqlite3.connect(file.path) as db:
        (count,) = db.execute("SELECT count(*) FROM points").fetchone()
    db.close()
    return int(count)


def test_what_was_written_is_there_after_it_was_closed(file: HistoryFile) -> None:
    assert file.newest() is None
    whole = HistoryPoint(*range(len(HistoryPoint._fields)))
    file.add(FINE, 100, {POOL: whole, SHARD: HistoryPoint(keys=7)})
    file.add(FINE, 105, {SHARD: HistoryPoint(p99=0.25)})
    file.close()
    again = HistoryFile(file.path)
    assert again.points(POOL, FINE, 0, 1000) == [(100, whole)]
    assert again.points(SHARD, FINE, 0, 1000) == [
        (100, HistoryPoint(keys=7)),
        (105, HistoryPoint(p99=0.25)),
    ]
    assert again.points_at(FINE, 100) == {POOL: whole, SHARD: HistoryPoint(keys=7)}
    assert again.points_at(FINE, 105) == {SHARD: HistoryPoint(p99=0.25)}
    assert (again.began(SHARD), again.newest()) == (100, 105)
    assert again.began(("cache", "cache-9")) is None
    assert file.path.stat().st_mode & 0o077 == 0
    again.close()


@given(st.lists(st.integers(0, 100).map(lambda n: n * LEVEL.step), min_size=1))
def test_the_newest_points_stay_and_no_more_than_there_are_slots(times: list[int]) -> None:
    with TemporaryDirectory() as directory:
        file = HistoryFile(Path(directory) / "history")
        for at in times:  # a clock may be set back
            file.add(LEVEL, at, {SHARD: HistoryPoint(keys=at)})
        last = {LEVEL.slot(at): at for at in times}
        assert rows(file) == len(last) <= LEVEL.points
        end = max(times) + LEVEL.step
        kept = sorted(at for at in last.values() if at >= end - LEVEL.seconds)
        expected = [(at, HistoryPoint(keys=at)) for at in kept]
        assert file.points(SHARD, LEVEL, 0, end) == expected
        middle = times[-1]
        assert file.points(SHARD, LEVEL, middle, end) == [
            (at, point) for at, point in expected if at >= middle
        ]
        file.close()


def test_a_clock_that_was_ahead_leaves_no_time_to_come(file: HistoryFile) -> None:
    file.add(FINE, 90_000, {SHARD: HistoryPoint(keys=1)})
    file.add(FINE, 200, {SHARD: HistoryPoint(keys=2)})
    assert file.began(SHARD) == 200
    newest = file.newest()
    assert newest is not None and newest <= 260
    file.forget(100)
    assert file.points(SHARD, FINE, 0, 1000) == [(200, HistoryPoint(keys=2))]
    file.close()


def test_a_damaged_file_is_named_with_what_to_do(file: HistoryFile) -> None:
    file.add(FINE, 5, {SHARD: HistoryPoint(keys=1)})
    file.close()
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[:4096] + b"damaged!" * ((len(whole) - 4096) // 8))
    with pytest.raises(StorageError, match=r"is damaged .*remove it, and the history begins anew"):
        file.points(SHARD, FINE, 0, 100)
    file.path.unlink()
    file.add(FINE, 10, {SHARD: HistoryPoint(keys=2)})
    assert file.points(SHARD, FINE, 0, 100) == [(10, HistoryPoint(keys=2))]
    file.close()


@pytest.mark.parametrize("log_too", [True, False])
def test_a_file_that_is_removed_while_it_is_open_is_begun_anew(
    file: HistoryFile, log_too: bool
) -> None:
    """As docs/api.md says; else points would go where nobody finds them."""
    file.add(FINE, 5, {SHARD: HistoryPoint(keys=1)})
    file.path.unlink()
    if log_too:
        Path(f"{file.path}-wal").unlink()
    file.add(FINE, 10, {SHARD: HistoryPoint(keys=2)})
    assert file.points(SHARD, FINE, 0, 100) == [(10, HistoryPoint(keys=2))]
    file.close()
    again = HistoryFile(file.path)
    assert again.points(SHARD, FINE, 0, 100) == [(10, HistoryPoint(keys=2))]
    again.close()


def test_there_are_so_many_series_and_those_that_are_gone_make_room(
    file: HistoryFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_file, "MOST_SERIES", 3)
    names = [("cache", f"cache-{number}") for number in range(5)]
    file.add(LEVEL, 100, {name: HistoryPoint(keys=1) for name in names})
    assert [file.began(name) is None for name in names] == [False] * 3 + [True] * 2
    file.add(LEVEL, 200, {names[0]: HistoryPoint(keys=2)})
    file.forget(200)
    assert [file.began(name) is None for name in names] == [False] + [True] * 4
    assert rows(file) == 2
    file.add(LEVEL, 205, {name: HistoryPoint(keys=3) for name in names})
    assert [file.began(name) is None for name in names] == [False] * 3 + [True] * 2
    file.close()


def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "meta.db")
    store.close()
    before = (tmp_path / "meta.db").read_bytes()
    file = HistoryFile(tmp_path / "meta.db")
    with pytest.raises(StorageError, match="remove it, or name another file"):
        file.newest()
    assert (tmp_path / "meta.db").read_bytes() == before
    text = tmp_path / "notes"
    text.write_text("not a database at all " * 100)
    with pytest.raises(StorageError, match="not a usable SQLite database"):
        HistoryFile(text).add(FINE, 5, {SHARD: HistoryPoint(keys=1)})
    assert text.read_text().startswith("not a database")


def test_a_file_of_another_release_is_begun_anew(file: HistoryFile) -> None:
    file.add(FINE, 5, {SHARD: HistoryPoint(keys=1)})
    assert file._db is not None
    file._db.execute("PRAGMA user_version = 99")
    file.close()
    again = HistoryFile(file.path)
    assert again.newest() is None
    again.add(FINE, 10, {SHARD: HistoryPoint(keys=2)})
    assert again.points(SHARD, FINE, 0, 100) == [(10, HistoryPoint(keys=2))]
    again.close()


def test_a_directory_that_is_made_later_will_do(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path / "later" / "history")
    with pytest.raises(StorageError, match="cannot be used"):
        file.add(FINE, 5, {SHARD: HistoryPoint(keys=1)})
    file.path.parent.mkdir()
    file.add(FINE, 5, {SHARD: HistoryPoint(keys=1)})
    assert file.points(SHARD, FINE, 0, 10) == [(5, HistoryPoint(keys=1))]
    file.close()


def test_a_full_disk_costs_points_and_nothing_else(file: HistoryFile) -> None:
    file.add(FINE, 5, {SHARD: HistoryPoint(keys=1)})
    assert file._db is not None
    (pages,) = file._db.execute("PRAGMA page_count").fetchone()
    file._db.execute(f"PRAGMA max_page_count = {pages}")
    many = {("cache", f"cache-{number}"): HistoryPoint(keys=2) for number in range(200)}
    with pytest.raises(StorageFullError, match="free space"):
        file.add(FINE, 10, many)
    assert file.points(SHARD, FINE, 0, 100) == [(5, HistoryPoint(keys=1))]
    file._db.execute(f"PRAGMA max_page_count = {pages + 1000}")
    file.add(FINE, 15, many)
    assert [at for at, _ in file.points(("cache", "cache-7"), FINE, 0, 100)] == [15]
    file.close()
