"""A move is turned back after its sources were started again from files that are older."""

from __future__ import annotations

import time

from cachemesh import CacheMesh
from tests.support.moved_pool import MovedPool, moving_stack
from tests.support.plain_redis import connect
from tests.support.resize_stack import url_of
from tests.support.waiting import AT_MOST

KEYS = {f"key:{number}".encode(): "old" for number in range(300)}


def test_keys_that_have_moved_are_not_replaced_by_what_a_source_had_before() -> None:
    with moving_stack() as stack:
        pool, began = MovedPool(stack, replicas=0), time.time()
        masters = [stack.master_of(each) for each in ("cache-0", "cache-1")]
        with CacheMesh.from_url(url_of(stack), token=stack.token) as client:
            client.mset(KEYS)
            for each in masters:
                assert connect(each).save()
            pool.begin_adding(keys_per_second=1)
            pool.await_state("moving")
            pool.set_pace(paused=True, keys_per_second=0)
            client.mset(dict.fromkeys(KEYS, "new"))
            moved = [key for key in KEYS if connect(pool.spare).exists(key)]
            assert len(moved) > len(KEYS) / 5
            for each in masters:
                process = stack.process(each)
                process.kill()
                process.restart(AT_MOST)
            assert sum(connect(each).dbsize() for each in masters) == len(KEYS), "from the files"
            assert set(client.mget(moved)) == {b"new"}, "what the target has is current"
            pool.give_up()
            pool.end(began)
            assert set(client.mget(moved)) == {b"new"}
            assert client.dbsize() == len(KEYS)
