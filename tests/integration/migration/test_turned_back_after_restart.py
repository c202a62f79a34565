"""A move is turned back after its sources came back with an older state, as from a file."""

from __future__ import annotations

import time

import redis

from cachemesh import CacheMesh
from tests.support.moved_pool import MovedPool, moving_stack
from tests.support.plain_redis import connect
from tests.support.resize_stack import url_of

KEYS = {f"key:{number}".encode(): "old" for number in range(300)}


def state_of(shard: redis.Redis) -> dict[bytes, bytes]:
    """Return all keys of a shard as a file of it would hold them."""
    found = {}
    for key in shard.scan_iter(count=1000):
        value = shard.dump(key)
        assert isinstance(key, bytes) and isinstance(value, bytes)
        found[key] = value
    return found


def come_back(shard: redis.Redis, kept: dict[bytes, bytes]) -> None:
    """Have a shard in an earlier state again, as after a restart from a file."""
    shard.flushall()
    for key, value in kept.items():
        shard.restore(key, 0, value)


def test_keys_that_have_moved_are_not_replaced_by_what_a_source_had_before() -> None:
    with moving_stack() as stack:
        pool, began = MovedPool(stack, replicas=0), time.time()
        shards = [connect(stack.master_of(each)) for each in ("cache-0", "cache-1")]
        with CacheMesh.from_url(url_of(stack), token=stack.token) as client:
            client.mset(KEYS)
            files = [state_of(each) for each in shards]
            pool.begin_adding(keys_per_second=1)
            pool.await_state("moving")
            pool.set_pace(paused=True, keys_per_second=0)
            client.mset(dict.fromkeys(KEYS, "new"))
            moved = [key for key in KEYS if connect(pool.spare).exists(key)]
            assert len(moved) > len(KEYS) / 5
            for shard, kept in zip(shards, files, strict=True):
                come_back(shard, kept)
            assert set(client.mget(moved)) == {b"new"}, "what the target has is current"
            pool.give_up()
            pool.end(began)
            after = client.mget(moved)
            assert after.count(b"new") == len(moved), f"{after.count(b'old')} are old again"
