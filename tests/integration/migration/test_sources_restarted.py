"""A move is turned back after its sources were started again, some from files that are older."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from cachemesh import CacheMesh
from cachemesh.local import LocalStack
from tests.support.moved_pool import SPARE, MovedPool, moving_stack
from tests.support.plain_redis import connect
from tests.support.resize_stack import url_of
from tests.support.waiting import AT_MOST, until

KEYS = {f"key:{number}".encode(): "old" for number in range(300)}
SOURCES = ("cache-0", "cache-1")
LOST = "/v1/pools/cache/resize/lost"


@contextmanager
def half_way(stack: LocalStack) -> Iterator[tuple[MovedPool, CacheMesh]]:
    """Have keys move to the spare shard, and pause that; at the end the resize has ended.

    The files of the sources have all keys, with old values.
    """
    pool, began = MovedPool(stack, replicas=0), time.time()
    with stack, CacheMesh.from_url(url_of(stack), token=stack.token) as client:
        client.mset(KEYS)
        for shard in SOURCES:
            assert connect(stack.master_of(shard)).save()
        pool.begin_adding(keys_per_second=1)
        pool.await_state("moving")
        pool.set_pace(paused=True, keys_per_second=0)
        yield pool, client
        pool.end(began)


def start_again(stack: LocalStack, address: str) -> None:
    """Start an instance again from its file."""
    process = stack.process(address)
    process.kill()
    process.restart(AT_MOST)


def mark_lost(pool: MovedPool) -> None:
    """Say that the spare shard, which is down, is gone for good."""
    until(lambda: pool.api("POST", LOST, {"shard": SPARE}).status == 200)


def test_keys_that_have_moved_are_not_replaced_by_what_a_source_had_before() -> None:
    with half_way(stack := moving_stack()) as (pool, client):
        client.mset(dict.fromkeys(KEYS, "new"))
        masters = [stack.master_of(each) for each in SOURCES]
        moved = [key for key in KEYS if connect(pool.spare).exists(key)]
        assert len(moved) > len(KEYS) / 5
        for each in masters:
            start_again(stack, each)
        assert sum(connect(each).dbsize() for each in masters) == len(KEYS), "from the files"
        assert set(client.mget(moved)) == {b"new"}, "what the target has is current"
        pool.give_up()
        until(lambda: pool.resize() is None)
        assert set(client.mget(moved)) == {b"new"}
        until(lambda: client.dbsize() == len(KEYS))


def test_what_is_back_stays_where_the_new_shard_is_then_lost() -> None:
    with half_way(stack := moving_stack()) as (pool, client):
        client.mset(dict.fromkeys(KEYS, "new"))
        pool.set_pace(keys_per_second=1)  # so that the way back is not over before it is paused
        pool.give_up()
        until(lambda: (pool.resize() or {})["state"] == "moving")
        pool.set_pace(paused=True, keys_per_second=0)
        client.mset(dict.fromkeys(KEYS, "newest"))  # which has them all back
        assert connect(pool.spare).dbsize() == 0
        assert connect(stack.master_of("cache-0")).save()
        start_again(stack, stack.master_of("cache-0"))
        stack.process(pool.spare).kill()
        mark_lost(pool)
        pool.set_pace(paused=False)
        until(lambda: pool.resize() is None)
        assert set(client.mget(list(KEYS))) == {b"newest"}


def test_of_a_source_whose_replica_is_gone_none_is_waited_for() -> None:
    with half_way(stack := moving_stack(replicas=1)) as (pool, client):
        client.mset(dict.fromkeys(KEYS, "new"))
        moved = [key for key in KEYS if connect(pool.spare).exists(key)]
        (replica,) = next(
            each["replicas"] for each in stack.info["shards"] if each["name"] == "cache-0"
        )
        stack.process(replica).kill()
        start_again(stack, stack.master_of("cache-0"))
        pool.give_up()
        until(lambda: pool.resize() is None)
        assert set(client.mget(moved)) == {b"new"}


def test_a_new_shard_that_is_lost_is_not_asked_which_keys_it_had() -> None:
    with half_way(stack := moving_stack()) as (pool, client):
        client.mset(dict.fromkeys(KEYS, "new"))
        moved = [key for key in KEYS if connect(pool.spare).exists(key)]
        start_again(stack, stack.master_of("cache-0"))
        stack.process(pool.spare).kill()
        pool.give_up()
        until(lambda: "may have older copies" in (pool.resize() or {})["detail"])
        mark_lost(pool)
        until(lambda: pool.resize() is None)
        found = client.mget(moved)
        assert set(found) == {b"old", None}, "of cache-0 from its file, of cache-1 misses"
