"""A metaserver dies, or the leader is frozen, just after a resize was asked of it.

300 raw watchers and 12 client processes follow the pool. Only on demand:
`CHAOS_ROUNDS=30 pytest -s tests/chaos/test_resize_killed.py` does it thirty times.
"""

from __future__ import annotations

import http.client
import os
import random
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from cachemesh.local import LocalStack, Process
from metaserver.store.leadership import SESSION_TIMEOUT
from tests.support.leading import leading, process_of
from tests.support.metaserver_process import Api
from tests.support.raw_watchers import RawWatchers
from tests.support.resize_load import ResizeLoad
from tests.support.resize_stack import metaservers_of, resizable_stack, url_of
from tests.support.resized_pool import ResizedPool
from tests.support.waiting import in_time, until

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "0"))
WATCHERS = 300
CLIENTS = 12
PAUSE = 0.02  # seconds between two rounds of a worker
AGREED = 2.0  # seconds after a metaserver is there
FOLLOWED = 2.0  # seconds beyond the session timeout, after which another leads


class Followers:
    """All who follow a pool, and how long they took to agree.

    Attributes:
        took: seconds until all acted on the store's version, each time that it was waited for.
    """

    def __init__(self, pool: ResizedPool, load: ResizeLoad, watchers: RawWatchers) -> None:
        self.pool = pool
        self.load = load
        self.watchers = watchers
        self.took: list[float] = []

    def agree(self, since: float) -> None:
        """Wait until all act on the store's version."""

        def agreed() -> bool:
            version = self.pool.document().version
            return {*self.load.versions(), *self.watchers.versions} == {version}

        until(agreed)
        self.took.append(time.monotonic() - since)


@contextmanager
def followed(stack: LocalStack, directory: Path) -> Iterator[Followers]:
    """Have all follow the pool of a stack; then judge what was read."""
    pool = ResizedPool(stack)
    urls = [url_of(stack, number) for number in range(CLIENTS)]
    with (
        RawWatchers(stack.info["metaservers"], stack.token, WATCHERS) as watchers,
        ResizeLoad(urls, stack.token, directory, PAUSE) as load,
    ):
        load.await_progress()
        followers = Followers(pool, load, watchers)
        followers.agree(time.monotonic())
        followers.took.clear()
        yield followers
        verdict = load.stop(pool.history)
        falls = sum(map(load.board.falls, range(CLIENTS)))
    took = sorted(followers.took)
    sys.stderr.write(
        f"\n{pool}\n{verdict}\nversions that fell: {falls}; all agreed {len(took)} times, after "
        f"{took[len(took) // 2]:.2f} s in the median, {took[-1]:.2f} s at most\n"
    )
    verdict.check()
    assert falls == 0


def ask(pool: ResizedPool, server: Process) -> threading.Thread:
    """Ask one metaserver for a resize; what becomes of it is in the audit log."""
    api, request = Api(str(server.address), pool.token), pool.next_change()

    def run() -> None:
        with suppress(OSError, http.client.HTTPException):
            api(*request)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.skipif(not ROUNDS, reason="takes long; set CHAOS_ROUNDS")
@pytest.mark.timeout(ROUNDS * 120 + 600)
@pytest.mark.parametrize("metaservers", [1, 3])
def test_a_metaserver_is_killed(metaservers: int, tmp_path: Path) -> None:
    with (
        resizable_stack(metaservers=metaservers) as stack,
        followed(stack, tmp_path) as followers,
    ):
        servers, pool = metaservers_of(stack), followers.pool
        under_way = 0
        for number in range(ROUNDS):
            victim, before = random.choice(servers), pool.document().version
            asking = ask(pool, victim)
            # Every other time later, when a resize has begun and clients are being told.
            time.sleep(random.uniform(0.0, 0.05 if number % 2 else 0.6))
            victim.kill()
            if len(servers) == 1:
                time.sleep(random.uniform(0.0, 2.0))
                victim.spawn()
            until(lambda: any(server.missing() is None for server in servers))
            followers.agree(time.monotonic())
            asking.join()
            if len(servers) > 1:
                victim.spawn()
            pool.settle()
            under_way += pool.document().version > before
            followers.agree(time.monotonic())
            followers.load.await_progress(each=2)
            sys.stderr.write(f"\rall agreed after {followers.took[-2]:.2f} s ")
        sys.stderr.write(f"\n{under_way} of {ROUNDS} changes were made nevertheless\n")
    for each in followers.took:
        in_time(each, AGREED)


def is_locked(stack: LocalStack) -> bool:
    """Return whether a process holds the lock of the database's writers."""
    with closing(sqlite3.connect(stack.directory / "meta.db", timeout=2.0)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
    return False


@pytest.mark.timeout(ROUNDS * 120 + 600)
@pytest.mark.skipif(not ROUNDS, reason="takes long; set CHAOS_ROUNDS")
def test_the_leader_is_frozen(tmp_path: Path) -> None:
    with resizable_stack(metaservers=2) as stack, followed(stack, tmp_path) as followers:
        pool, took, in_a_write = followers.pool, list[float](), 0
        while len(took) < max(1, ROUNDS // 3):
            before = leading(stack)
            leader = process_of(stack, before)
            asking = ask(pool, random.choice(metaservers_of(stack)))
            time.sleep(random.uniform(0.0, 0.05))
            leader.pause()
            began = time.monotonic()
            try:
                if is_locked(stack):  # nobody can write until it goes on
                    in_a_write += 1
                    continue
                leading(stack, but=leader, after=before["leader"]["epoch"])
                took.append(time.monotonic() - began)
            finally:
                leader.resume()
                asking.join()
                pool.settle()
            followers.agree(time.monotonic())
            followers.load.await_progress(each=2)
        sys.stderr.write(
            f"\nanother led after {', '.join(f'{each:.2f}' for each in took)} s; the leader was "
            f"{in_a_write} times in the midst of a write\n"
        )
    for each in took:
        in_time(each, SESSION_TIMEOUT + FOLLOWED)
