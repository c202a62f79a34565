"""When a leader on SQLite counts as gone, and when it finds that it does."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from metaserver.store.sqlite import SqliteStore
from metaserver.store.sqlite_election import BeatFile, Silence
from tests.support.waiting import AT_MOST, until
from tests.unit.metaserver.store.test_store_election import Candidate

TIMEOUT = 0.5  # seconds of a session


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "meta.db"


def another_leads(file: Path) -> None:
    """Begin a term of a process on another machine, of which only its beats can tell."""
    with sqlite3.connect(file, AT_MOST) as db:
        db.execute("UPDATE lead SET epoch = epoch + 1, owner = 'elsewhere:9:1', since = '-'")
    db.close()


def owner(file: Path) -> str:
    with sqlite3.connect(file, AT_MOST) as db:
        (found,) = db.execute("SELECT owner FROM lead").fetchone()
    db.close()
    return str(found)


def test_a_leader_without_a_beat_is_replaced(file: Path) -> None:
    store = SqliteStore(file, TIMEOUT)
    another_leads(file)
    candidate = Candidate(store, "elsewhere:1:1")
    with candidate.running():
        assert candidate.terms.get(timeout=AT_MOST).epoch == 2
    store.close()


def test_a_leader_that_was_replaced_ends_its_own_term_alone(file: Path) -> None:
    store = SqliteStore(file, 12.0)
    candidate = Candidate(store, "elsewhere:1:1")
    with candidate.running():
        term = candidate.terms.get(timeout=AT_MOST)
        another_leads(file)
        until(term.lost.is_set)
    assert owner(file) == "elsewhere:9:1"
    store.close()


def test_a_leader_that_cannot_show_a_beat_ends_its_term(file: Path) -> None:
    file.with_name("meta.db.beat").mkdir()
    store = SqliteStore(file, TIMEOUT)
    candidate = Candidate(store, "elsewhere:1:1")
    with candidate.running():
        until(candidate.terms.get(timeout=AT_MOST).lost.is_set)
    store.close()


def test_silence_is_counted_from_the_last_beat_of_the_term(tmp_path: Path) -> None:
    beats, now = BeatFile(tmp_path / "beat"), 0.0
    silence = Silence(beats, lambda: now)
    assert silence.of(3) == 0.0
    now = 4.0
    assert silence.of(3) == 4.0
    beats.write(3, 1)
    assert silence.of(3) == 0.0
    now = 6.0
    beats.write(2, 9)  # a paused leader of an earlier term goes on
    assert silence.of(3) == 0.0, "the beat of the term is gone: seen as a change, once"
    now = 7.0
    beats.write(2, 10)
    assert silence.of(3) == 1.0
    assert silence.of(4) == 0.0
