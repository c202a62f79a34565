"""Eight processes write one pool, and are killed at random moments: no change is lost or doubled.

With CHAOS_CHANGES=500 each makes so many changes; by default few. And one process writes a file
alone, and is killed CHAOS_KILLS times, twice by default: the full count is 50.
"""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
import uuid
from functools import partial
from pathlib import Path

import pytest

from metaserver.store import Store
from tests.support.store_records import create
from tests.support.store_writer import counts, opened
from tests.support.waiting import AT_MOST, until
from tests.support.zookeeper import Ensemble

WRITERS = 8
CHANGES = int(os.environ.get("CHAOS_CHANGES", "4"))
KILLS = max(2, CHANGES // 15)  # of writers
ALONE_KILLS = int(os.environ.get("CHAOS_KILLS", "2"))  # of the one that writes a file alone
LEADER_KILLS = max(1, CHANGES // 50)  # of ZooKeeper


@pytest.fixture(params=["sqlite", "zookeeper"])
def servers(request: pytest.FixtureRequest) -> Ensemble | None:
    """Three ZooKeepers, or none for SQLite."""
    if request.param == "sqlite":
        return None
    found: Ensemble = request.getfixturevalue("ensemble")
    return found


class Writer:
    """A writer that is started again after each kill."""

    def __init__(
        self, name: str, log: Path, where: tuple[str, ...], changes: int = CHANGES
    ) -> None:
        self.name = name
        self._log = log
        self._command = [
            *(sys.executable, "-m", "tests.support.store_writer", name, str(changes)),
            *where,
        ]
        self._log.touch()
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(AT_MOST)

    def acknowledged(self) -> list[tuple[int, int]]:
        """The count and the version of each change that was told as made, in their order."""
        whole = self._log.read_text().rpartition("\n")[0]
        pairs = (line.split() for line in whole.splitlines())
        return [(int(count), int(version)) for count, version in pairs]


@pytest.mark.timeout(3600)
def test_writers_that_are_killed(servers: Ensemble | None, tmp_path: Path) -> None:
    where: tuple[str, ...] = ("sqlite", str(tmp_path / "meta.db"))
    if servers is not None:
        where = ("zookeeper", servers.hosts, f"/{uuid.uuid4().hex}")
    first = opened(*where)
    create(first)
    writers = [Writer(f"writer-{n}", tmp_path / f"writer-{n}.log", where) for n in range(WRITERS)]
    try:
        kill_at_random(writers, first, servers)
        until(lambda: all(w.process.poll() is not None for w in writers), CHANGES * AT_MOST)
        assert [writer.process.returncode for writer in writers] == [0] * WRITERS
    finally:
        for writer in writers:
            writer.kill()
        first.close()
    fresh = opened(*where)
    try:
        check(fresh, writers)
    finally:
        fresh.close()


def has_more(writer: Writer, known: int) -> bool:
    return len(writer.acknowledged()) > known


def is_beyond(store: Store, version: int) -> bool:
    return store.versions()["cache"] > version


def kill_at_random(writers: list[Writer], store: Store, ensemble: Ensemble | None) -> None:
    """Kill writers, and ZooKeeper's leader, each after a random number of further changes."""
    kills = ["writer"] * KILLS + ["leader"] * (LEADER_KILLS if ensemble is not None else 0)
    random.shuffle(kills)
    step = WRITERS * CHANGES // (len(kills) + 1)
    for number, kill in enumerate(kills):
        reached = number * step + random.randint(1, max(1, step))
        until(partial(is_beyond, store, reached), CHANGES * AT_MOST)
        if kill == "leader" and ensemble is not None:
            ensemble.leader.kill()
            ensemble.start()
            continue
        writer = random.choice(writers)
        writer.kill()
        writer.start()


def check(store: Store, writers: list[Writer]) -> None:
    """Compare what the writers were told with the document and the audit log."""
    document = store.document("cache")
    assert document is not None
    logged = [each for each in store.events(limit=10**6) if each.action == "count"][::-1]
    assert document.version == 1 + len(logged), "a version without a change, or a change without"
    assert counts(document) == {writer.name: CHANGES for writer in writers}, "an update was lost"
    for writer in writers:
        own = [int(each.detail) for each in logged if each.actor == writer.name]
        assert own == list(range(1, CHANGES + 1)), "a change was lost, or made twice"
        told = writer.acknowledged()
        assert told == sorted(set(told)), "a version fell"
        for count, version in told:
            change = logged[version - 2]
            assert (change.actor, change.detail) == (writer.name, str(count))


@pytest.mark.timeout(ALONE_KILLS * 60 + 600)
def test_a_file_whose_writer_is_killed(tmp_path: Path) -> None:
    """After each kill the file opens, is whole, and has all that was acknowledged."""
    path = tmp_path / "meta.db"
    store = opened("sqlite", str(path))
    create(store)
    store.close()
    writer = Writer("writer", tmp_path / "log", ("sqlite", str(path)), changes=10**9)
    version = 1
    for _ in range(ALONE_KILLS):
        until(partial(has_more, writer, len(writer.acknowledged())))
        time.sleep(random.uniform(0.0, 0.02))  # so that it is at any point of a write
        writer.kill()
        told = writer.acknowledged()
        store = opened("sqlite", str(path))
        document = store.document("cache")
        assert document is not None
        assert document.version >= max(version, told[-1][1]), "a version fell"
        assert counts(document) == {"writer": document.version - 1}
        logged = [int(each.detail) for each in store.events(limit=10**6) if each.action == "count"]
        assert logged == list(range(document.version - 1, 0, -1))
        version = document.version
        store.close()
        with sqlite3.connect(path) as file:
            assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        file.close()
        writer.start()
    writer.kill()
    sys.stderr.write(f"killed {ALONE_KILLS} times: whole each time, {version - 1} changes\n")
