"""Keys move while processes die, hang and are replaced: no reply is wrong.

A small run of each by default. `CHAOS_KEYS=1000000 CHAOS_CLIENTS=8 pytest -s
tests/chaos/test_move_faults.py` moves a million keys under eight client processes.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cachemesh import CacheMesh
from cachemesh.local import LocalStack
from tests.support.leading import leading, process_of
from tests.support.move_load import MoveLoad, MoveVerdict
from tests.support.moved_pool import MovedPool, moving_stack
from tests.support.planned_failovers import fail_over
from tests.support.resize_stack import url_of
from tests.support.waiting import AT_MOST, until

KEYS = int(os.environ.get("CHAOS_KEYS", "3000"))
CLIENTS = int(os.environ.get("CHAOS_CLIENTS", "2"))
SHARDS = 4 if CLIENTS > 4 else 2
RATE = 0 if KEYS > 100_000 else 500  # keys a second, so that faults fall into a short move

COMPARED = [True, False] if "CHAOS_KEYS" in os.environ else [True]
MOST_UNREPLICATED = 3 * 2 * CLIENTS
"""Writes that two masters which die may not have replicated yet: one of each worker, twice."""

pytestmark = pytest.mark.timeout(1800)


class Run:
    """A pool with keys and clients, whose spare shard is added and removed under faults."""

    def __init__(self, stack: LocalStack, load: MoveLoad, client: CacheMesh) -> None:
        self.stack, self.load, self.client = stack, load, client
        self.pool = MovedPool(stack)

    def there_and_back(self, fault: Callable[[], object] = lambda: None) -> None:
        """Add the spare shard and remove it again, each with a fault in the midst."""
        for begin in (self.pool.begin_adding, self.pool.begin_removing):
            began = time.time()
            begin(keys_per_second=RATE)
            self.pool.await_state("moving")
            fault()
            if self.pool.resize() is not None:
                self.pool.set_pace(keys_per_second=0)
            self.pool.end(began)
            self.load.await_progress()

    def check_keys(self) -> None:
        """Assert that every key that nobody writes is there."""
        for first in range(0, KEYS, 1000):
            numbers = range(first, min(KEYS, first + 1000))
            values = self.client.mget([f"bulk:{n}" for n in numbers])
            assert values == [f"value:{n}".encode() for n in numbers]


@contextmanager
def run(directory: Path, clients: int = CLIENTS, **options: Any) -> Iterator[Run]:
    """Start a pool, fill it, and have clients work; ``options`` are those of its stack."""
    with moving_stack(shards=SHARDS, replicas=1, sentinels=3, **options) as stack:
        urls = [url_of(stack, number) for number in range(clients)]
        with CacheMesh.from_url(urls[0], token=stack.token) as client:
            for first in range(0, KEYS, 1000):
                numbers = range(first, min(KEYS, first + 1000))
                client.mset({f"bulk:{n}": f"value:{n}" for n in numbers})
            with MoveLoad(urls, stack.token, directory) as load:
                load.await_progress()
                yield Run(stack, load, client)


def told(run: Run) -> MoveVerdict:
    """End the clients, say what they have seen, and return it."""
    verdict = run.load.stop()
    spans = [f"{ended - began:.1f} s" for began, ended in run.pool.spans]
    sys.stderr.write(f"\n{verdict}; moves took {', '.join(spans)}\n")
    return verdict


def test_the_leader_is_killed_again_and_again(tmp_path: Path) -> None:
    with run(tmp_path, metaservers=2) as chaos:

        def kill_while_it_moves() -> None:
            began, epoch = time.monotonic(), 0
            while chaos.pool.resize() is not None and time.monotonic() - began < 20.0:
                listed = leading(chaos.stack, after=epoch)
                assert listed["leader"] is not None
                epoch = listed["leader"]["epoch"]
                process = process_of(chaos.stack, listed)
                process.kill()
                process.restart(AT_MOST)
                chaos.pool.await_moved_keys()  # by the next one

        chaos.there_and_back(kill_while_it_moves)
        chaos.check_keys()
        verdict = told(chaos)
    verdict.check()


def test_planned_failovers_of_sources(tmp_path: Path) -> None:
    with run(tmp_path) as chaos:

        def hand_over() -> None:
            for name in ("cache-0", "cache-1"):
                done = fail_over(chaos.pool.api, name)
                assert done.status == 200, done.text

        chaos.there_and_back(hand_over)
        chaos.check_keys()
        verdict = told(chaos)
    verdict.check()


def test_clients_are_frozen(tmp_path: Path) -> None:
    with run(tmp_path, clients=max(CLIENTS, 4)) as chaos:  # of which two go on
        frozen = threading.Event()

        def freeze() -> None:
            numbers = (0, 1)
            for number in numbers:
                chaos.load.freeze(number)
            frozen.set()
            chaos.pool.await_moved_keys()
            for number in numbers:
                chaos.load.thaw(number)

        chaos.there_and_back(freeze)
        chaos.check_keys()
        verdict = told(chaos)
    verdict.check()
    assert frozen.is_set()


def test_it_is_given_up_half_way(tmp_path: Path) -> None:
    with run(tmp_path) as chaos:
        for _ in range(3):
            began = time.time()
            chaos.pool.begin_adding(keys_per_second=RATE)
            chaos.pool.await_state("moving")
            until(lambda: min(chaos.client.dbsize_per_shard().values()) > KEYS / 20)
            chaos.pool.give_up()
            chaos.pool.set_pace(keys_per_second=0)
            chaos.pool.end(began)
            chaos.load.await_progress()
        chaos.check_keys()
        verdict = told(chaos)
    verdict.check()


@pytest.mark.parametrize("resized", COMPARED)
def test_masters_are_killed(tmp_path: Path, resized: bool) -> None:
    """A source, then a target; without a resize as many writes are lost, which long runs show.

    Those are the last ones, which the master had acknowledged and not replicated.
    """
    with run(tmp_path, down_after_ms=2000) as chaos:
        for shard in ("cache-0", "cache-1"):
            began = time.time()
            if resized and shard == "cache-0":
                chaos.pool.begin_adding(keys_per_second=RATE)
            elif resized:
                chaos.pool.begin_removing(keys_per_second=RATE)
            if resized:
                chaos.pool.await_state("moving")
            kill_master(chaos.stack, shard)
            if resized:
                chaos.pool.end(began)
            chaos.load.await_progress()
        chaos.check_keys()
        verdict = told(chaos)
    expected = ("ShardUnavailableError", "ShardTimeoutError", "ConnectionError", "WatchError")
    assert set(verdict.errors) <= {*expected}, (verdict.errors, verdict.examples)
    assert sum(verdict.wrong.values()) <= MOST_UNREPLICATED, (verdict.wrong, verdict.examples)


def kill_master(stack: LocalStack, shard: str) -> None:
    """SIGKILL a shard's master, wait for its successor, and start it again as a replica."""
    before = stack.master_of(shard)
    process = stack.process(before)
    process.kill()
    until(lambda: stack.master_of(shard) != before)
    process.restart(AT_MOST)
