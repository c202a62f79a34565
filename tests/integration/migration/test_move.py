"""A shard is added, and removed, while apps work: every reply is what it has to be."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachemesh import CacheMesh
from cachemesh.local import LocalStack
from tests.support.cli_in_process import run_here
from tests.support.move_load import MoveLoad
from tests.support.moved_pool import SPARE, MovedPool, moving_stack
from tests.support.plain_redis import direct
from tests.support.resize_stack import url_of
from tests.support.waiting import until

BULK = 5000


@pytest.fixture
def stack() -> Iterator[LocalStack]:
    with moving_stack(replicas=1) as stack:
        yield stack


@pytest.fixture
def client(stack: LocalStack) -> Iterator[CacheMesh]:
    with CacheMesh.from_url(url_of(stack), token=stack.token) as client:
        client.mset({f"bulk:{n}": f"value:{n}" for n in range(BULK)})
        yield client


def check_bulk(client: CacheMesh) -> None:
    values = client.mget([f"bulk:{n}" for n in range(BULK)])
    assert values == [f"value:{n}".encode() for n in range(BULK)]


def test_there_and_back_under_load(stack: LocalStack, client: CacheMesh, tmp_path: Path) -> None:
    pool = MovedPool(stack)
    with MoveLoad([url_of(stack)] * 2, stack.token, tmp_path) as load:
        load.await_progress(300)
        pool.add()
        assert min(client.dbsize_per_shard().values()) > BULK / 4
        load.await_progress(100)
        check_bulk(client)
        pool.remove()
        load.await_progress(100)
        verdict = load.stop()
    sys.stderr.write(f"\n{verdict}\n")
    verdict.check()
    check_bulk(client)
    assert SPARE not in client.dbsize_per_shard()
    actions = [event["action"] for event in pool.events()]
    assert actions.count("resize.move") == actions.count("resize.done") == 2


def test_given_up_half_way(stack: LocalStack, client: CacheMesh, tmp_path: Path) -> None:
    pool = MovedPool(stack)
    with MoveLoad([url_of(stack)] * 2, stack.token, tmp_path) as load:
        load.await_progress(300)
        began = time.time()
        pool.begin_adding(keys_per_second=200)
        pool.await_state("moving")
        load.await_progress(100)
        assert min(client.dbsize_per_shard().values()) > 0
        pool.give_up()
        pool.set_pace(keys_per_second=0)
        pool.end(began)
        load.await_progress(100)
        verdict = load.stop()
    sys.stderr.write(f"\n{verdict}\n")
    verdict.check()
    check_bulk(client)
    assert client.topology.document.placement.names == ("cache-0", "cache-1")
    with direct(pool.spare) as spare:
        assert spare.dbsize() == 0
    assert [event["action"] for event in pool.events()].count("resize.turned-back") == 1


def test_paused_and_resumed(stack: LocalStack, client: CacheMesh) -> None:
    pool = MovedPool(stack)
    began = time.time()
    pool.begin_adding(keys_per_second=100)
    pool.await_state("moving")
    with direct(pool.spare) as spare:
        key = until(lambda: next(spare.scan_iter(match="bulk:*"), None))
        pool.set_pace(paused=True)
        assert client.incr("counter") == 1
        until(lambda: pool.is_still(spare))
        moved = spare.dbsize()
        check_bulk(client)  # which pulls what it asks for
        assert spare.dbsize() > moved
        assert spare.exists(key)

    def command(*words: str, exit_code: int = 0) -> str:
        variables = {"CACHEMESH_URL": url_of(stack), "CACHEMESH_TOKEN": stack.token}
        code, out, err = run_here(variables, "migration", *words)
        assert code == exit_code, err
        return out

    assert "an operator has paused it" in command("status")
    assert "100 keys/s" in command("status")
    assert "move the keys back" in command("abort", "--dry-run", exit_code=6)
    command("throttle", "0")
    command("resume")
    pool.end(began)
    command("status", exit_code=4)
    check_bulk(client)
    assert client.incr("counter") == 2
