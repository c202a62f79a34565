"""A key that is too large to be moved keeps a resize from beginning, and apps feel nothing."""

from __future__ import annotations

from itertools import count

from cachemesh import CacheMesh
from cachemesh.core.placement import Shard
from metaserver.domain.large_keys import SUSPECT
from tests.support.moved_pool import SPARE, MovedPool, moving_stack
from tests.support.waiting import PATIENT, until

ELEMENT = 8 * 1024**2  # bytes


def test_it_is_told_and_the_resize_begins_once_it_is_gone() -> None:
    with (
        moving_stack() as stack,
        CacheMesh.from_url(stack.info["url"], token=stack.token, **PATIENT) as client,
    ):
        before = client.topology.document.placement
        after = before.with_shards([*before.shards, Shard(SPARE)])
        key = next(name for n in count() if after.shard_for(name := f"large:{n}") == SPARE)
        keys = [f"key:{n}" for n in range(300)]
        client.mset(dict.fromkeys(keys, "value"))
        for _ in range(SUSPECT // ELEMENT + 2):
            client.rpush(key, bytes(ELEMENT))
        pool = MovedPool(stack, replicas=0)
        pool.begin_adding()
        until(lambda: "too large" in (pool.resize() or {"detail": ""})["detail"])
        waiting = pool.resize()
        assert waiting is not None and waiting["state"] == "clearing"
        assert key in waiting["detail"] and "Split or delete it" in waiting["detail"]
        assert client.mget(keys) == [b"value"] * len(keys)
        assert client.llen(key) == SUSPECT // ELEMENT + 2
        client.unlink(key)
        until(lambda: pool.resize() is None)
        assert client.mget(keys) == [b"value"] * len(keys)
        assert client.topology.document.placement.names[-1] == SPARE
