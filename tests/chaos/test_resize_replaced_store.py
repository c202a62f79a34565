"""The store is replaced by a copy that is three versions old, while clients run.

Once by default, after a resize; ten times, and as often after changes of settings, with
`CHAOS_ROUNDS=10 pytest -s tests/chaos/test_resize_replaced_store.py`.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from cachemesh.local import LocalStack
from cachemesh.local.process import await_ready
from metaserver.service.ahead import HOLDS, HOLDS_WITHIN
from tests.support.resize_load import ResizeLoad
from tests.support.resize_stack import metaservers_of, resizable_stack, url_of
from tests.support.resized_pool import POOL, ResizedPool
from tests.support.waiting import AT_MOST, in_time, until

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))
CLIENTS, PAUSE = (8, 0.02) if ROUNDS > 1 else (4, 0.05)  # seconds between their rounds
AGREED = 5.0  # seconds after the metaserver is there


class Store:
    """The database of a stack with one metaserver."""

    def __init__(self, stack: LocalStack) -> None:
        self._path = stack.directory / "meta.db"
        self._copy = self._path.with_name("older.db")
        (self._server,) = metaservers_of(stack)

    def back_up(self) -> None:
        with (
            closing(sqlite3.connect(self._path)) as present,
            closing(sqlite3.connect(self._copy)) as copy,
        ):
            present.backup(copy)

    def replace(self) -> None:
        """Put the copy in its place, and return once the metaserver serves it."""
        self._server.kill(signal.SIGTERM)
        self._server.wait(AT_MOST)
        for path in self._path.parent.glob(f"{self._path.name}-*"):
            path.unlink()  # the write-ahead log, and what follows from it
        self._copy.replace(self._path)
        self._server.spawn()
        await_ready([self._server], AT_MOST)

    @property
    def log(self) -> str:
        return self._server.log.read_text()


def change(pool: ResizedPool, what: str) -> None:
    """Change the pool by three versions."""
    before = pool.document().version
    if what == "a resize":
        pool.resize()
        until(lambda: swept(pool))
    while (version := pool.document().version) < before + 3:
        pool.api.request("PATCH", f"{POOL}/settings", {"settings": {"poll_interval": version}})


def swept(pool: ResizedPool) -> bool:
    """Return whether no shard is swept, by a status that is no older than the pool."""
    version, status = pool.document().version, pool.status()
    return status["version"] >= version and not status["sweeps"]


def await_agreement(load: ResizeLoad, pool: ResizedPool) -> float:
    """Wait until all clients act on the version of the store; return the seconds."""
    began = time.monotonic()
    until(lambda: set(load.versions()) == {pool.document().version})
    return time.monotonic() - began


@pytest.mark.timeout(ROUNDS * 120 + 600)
@pytest.mark.parametrize("what", ["a resize", "settings"] if ROUNDS > 1 else ["a resize"])
def test_an_older_copy(what: str, tmp_path: Path) -> None:
    with resizable_stack() as stack:
        pool, store = ResizedPool(stack), Store(stack)
        took, replaced = list[float](), list[float]()
        with ResizeLoad([url_of(stack)] * CLIENTS, stack.token, tmp_path, PAUSE) as load:
            load.await_progress()
            for number in range(ROUNDS):
                if number >= HOLDS:  # or the next one would not hold commands
                    until(lambda: time.monotonic() - replaced[-HOLDS] > HOLDS_WITHIN)
                store.back_up()
                change(pool, what)
                newest = pool.document().version
                await_agreement(load, pool)
                replaced.append(time.monotonic())
                store.replace()
                took.append(await_agreement(load, pool))
                assert pool.document().version > newest
                pool.look_again()
                load.await_progress(each=50)  # enough of each kind to tell
            verdict = load.stop(pool.history)
            falls = sum(map(load.board.falls, range(CLIENTS)))
        events = pool.api.request("GET", "/v1/events", query={"limit": 1000})["events"]
        raised = [event for event in events if event["action"] == "pool.version-raised"]
        seconds = ", ".join(f"{each:.2f}" for each in took)
        sys.stderr.write(
            f"\nall agreed after {seconds} s; versions that fell: {falls}\n"
            f"{verdict}\n{raised[0]['detail'] if raised else None}\n"
        )
        assert falls == 0
        assert raised
        assert store.log.count("older copy") >= ROUNDS
        verdict.check()
    for each in took:
        in_time(each, AGREED)
