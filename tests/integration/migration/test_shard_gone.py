"""A source is gone for good in the midst of a move, and an empty server takes its place."""

from __future__ import annotations

import pytest

from cachemesh import CacheMesh, CacheMeshError, ShardUnavailableError
from tests.support.moved_pool import SPARE, MovedPool, moving_stack
from tests.support.plain_redis import direct
from tests.support.waiting import AT_MOST, until

KEYS = [f"key:{n}" for n in range(900)]


@pytest.mark.parametrize("given_up", [False, True])
def test_what_it_had_given_away_stays(given_up: bool) -> None:
    with (
        moving_stack() as stack,
        CacheMesh.from_url(stack.info["url"], token=stack.token) as client,
    ):
        client.mset(dict.fromkeys(KEYS, "value"))
        pool = MovedPool(stack, replicas=0)
        pool.begin_adding(keys_per_second=100)
        pool.await_state("moving")
        pool.await_moved_keys()
        dead = stack.process(stack.master_of("cache-0"))
        dead.kill()
        until(lambda: "cannot be moved from shard cache-0" in (pool.resize() or {})["detail"])
        left = len(keys_at(stack.master_of("cache-1")) | keys_at(pool.spare))
        assert len(KEYS) / 2 - 100 < left < len(KEYS)
        with pytest.raises(ShardUnavailableError, match="'cache-0'"):
            for key in KEYS:
                client.get(key)
        if given_up:
            pool.give_up()
        pool.set_pace(keys_per_second=0)
        dead.restart(AT_MOST)
        until(lambda: pool.resize() is None)
        until(lambda: hits(client) == left)
        names = client.topology.document.placement.names
        assert (SPARE in names) is not given_up


@pytest.mark.parametrize("which", ["source", "target"])
def test_without_its_last_replica_keys_move_on(which: str) -> None:
    """The replica took over; the former master stays away for a while."""
    with (
        moving_stack(replicas=1, sentinels=3, down_after_ms=2000) as stack,
        CacheMesh.from_url(stack.info["url"], token=stack.token) as client,
    ):
        client.mset(dict.fromkeys(KEYS, "value"))
        pool = MovedPool(stack)
        pool.add()
        until(lambda: hits(client) == len(KEYS))
        pool.begin_removing(keys_per_second=5)
        pool.await_state("moving")
        pool.await_moved_keys()
        shard = SPARE if which == "source" else "cache-1"
        before = pool.spare if which == "source" else stack.master_of(shard)
        dead = stack.process(before)
        dead.kill()
        until(lambda: "resize.replicas" in [event["action"] for event in pool.events()])
        dead.restart(AT_MOST)
        replicas = "it is waited for"
        until(lambda: any(replicas in event["detail"] for event in pool.events()))
        pool.set_pace(keys_per_second=0)
        until(lambda: pool.resize() is None)
        until(lambda: hits(client) == len(KEYS))


def hits(client: CacheMesh) -> int:
    """Return how many keys are there, once all shards serve."""
    try:
        return sum(value is not None for value in client.mget(KEYS))
    except CacheMeshError:
        return 0


def keys_at(address: str) -> set[bytes]:
    with direct(address) as client:
        return set(client.scan_iter(match="key:*"))
