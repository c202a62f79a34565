"""A pool gets another placement while apps work: it is taken over without going cold."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachemesh import CacheMesh
from cachemesh.core.placement import Placement
from cachemesh.local import LocalStack
from tests.support.move_load import MoveLoad
from tests.support.moved_pool import MovedPool, moving_stack
from tests.support.plain_redis import direct
from tests.support.resize_stack import url_of
from tests.support.waiting import until

BULK = {f"{{user:{n % 500}}}:{n}": f"value:{n}".encode() for n in range(3000)}
SLOTS = {"strategy": "slots"}
TWEMPROXY = {
    "strategy": "ketama",
    "hash": "fnv1a_64",
    "hash_tag": "{}",
    "labels": {f"cache-{n}": f"10.0.0.{n}:6379:1" for n in range(3)},
}
JEDIS = {"strategy": "jedis", "hash_tag": None, "named": False}
MODULA = {"strategy": "modula", "hash": "md5"}
SLOWLY = 300  # keys per second


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with moving_stack(shards=3, replicas=1) as stack:
        yield stack


@pytest.fixture
def client(stack: LocalStack) -> Iterator[CacheMesh]:
    with CacheMesh.from_url(url_of(stack), token=stack.token) as client:
        client.flushall()
        yield client


def check_bulk(client: CacheMesh) -> None:
    assert client.mget(list(BULK)) == list(BULK.values())


def check_held(stack: LocalStack, placement: Placement) -> None:
    """Check that the keys are where a placement has them, and nowhere else."""
    masters = {shard["name"]: shard["master"] for shard in stack.info["shards"]}
    for name in placement.names:
        own = {key for key in BULK if placement.shard_for(key) == name}
        with direct(masters[name]) as instance:
            assert set(instance.scan_iter(match="{user:*", count=1000)) == own


@pytest.mark.parametrize(
    "placement",
    [
        pytest.param(TWEMPROXY, id="ketama"),
        pytest.param(JEDIS, id="jedis"),
        pytest.param(MODULA, id="modula"),
    ],
)
def test_to_slots_and_back_under_load(
    stack: LocalStack, client: CacheMesh, tmp_path: Path, placement: dict[str, Any]
) -> None:
    pool = MovedPool(stack)
    pool.place(placement, "drop")
    client.mset(BULK)
    asked = len(pool.events())
    with MoveLoad([url_of(stack)] * 2, stack.token, tmp_path) as load:
        load.await_progress(300)
        for target in (SLOTS, placement):
            began = time.time()
            pool.begin_placing(target, keys_per_second=SLOWLY)
            pool.await_state("moving")
            load.await_progress(50)
            check_bulk(client)
            pool.set_pace(keys_per_second=0)
            pool.end(began)
            load.await_progress(100)
            check_bulk(client)
            now = client.topology.document.placement
            assert now.strategy == target["strategy"]
            check_held(stack, now)
        verdict = load.stop()
    sys.stderr.write(f"\n{verdict}\n")
    verdict.check()
    actions = [event["action"] for event in pool.events()[asked:]]
    assert actions.count("pool.placement") == actions.count("resize.done") == 2
    assert actions.count("resize.move") == 4  # in two stages each


def test_given_up_half_way(stack: LocalStack, client: CacheMesh) -> None:
    pool = MovedPool(stack)
    pool.place(TWEMPROXY, "drop")
    client.mset(BULK)
    before = client.topology.document.placement
    began = time.time()
    pool.begin_placing(SLOTS, keys_per_second=SLOWLY)
    pool.await_state("moving")
    client.mget(list(BULK)[:500])
    pool.give_up()
    pool.set_pace(keys_per_second=0)
    pool.end(began)
    check_bulk(client)
    until(lambda: client.topology.document.migration is None)
    assert client.topology.document.placement == before
    check_held(stack, before)
