"""Sentinels that name different masters while keys move, as in a failover: the move waits."""

from __future__ import annotations

import time

from cachemesh import CacheMesh
from cachemesh.core.names import parse_address
from cachemesh.local import LocalStack
from tests.support.moved_pool import MovedPool, moving_stack
from tests.support.plain_redis import connect
from tests.support.waiting import until

KEYS = {f"key:{number}": "value" for number in range(1000)}
SLOW = 50  # keys a second, so that the move goes on meanwhile


def have_most_name(stack: LocalStack, master: str) -> None:
    """Have two of three Sentinels monitor cache-0 at an address."""
    host, port = parse_address(master)
    for sentinel in stack.info["sentinels"][1:]:
        with connect(sentinel) as asked:
            asked.execute_command("SENTINEL", "REMOVE", "cache-0")
            asked.execute_command("SENTINEL", "MONITOR", "cache-0", host, port, 2)


def test_a_source_is_not_done_because_most_name_a_master_without_keys() -> None:
    with moving_stack(replicas=1, sentinels=3) as stack:
        pool, url = MovedPool(stack), f"cachemesh://{stack.info['metaservers'][0]}/cache"
        with CacheMesh.from_url(url, token=stack.token) as client:
            client.mset(KEYS)
        masters = [stack.master_of("cache-0"), stack.master_of("cache-1"), pool.spare]
        former, began = str(stack.start_redis().address), time.time()
        pool.begin_adding(keys_per_second=SLOW)
        pool.await_state("moving")
        pool.set_pace(paused=True)
        have_most_name(stack, former)
        pool.set_pace(paused=False)
        until(lambda: "name different masters" in str(pool.resize()))
        have_most_name(stack, masters[0])
        pool.set_pace(keys_per_second=0)
        pool.end(began)
        until(lambda: sum(connect(each).dbsize() for each in masters) == len(KEYS))
        assert connect(former).dbsize() == 0
