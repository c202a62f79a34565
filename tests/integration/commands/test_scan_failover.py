"""A scan over real shards goes on through a failover."""

from __future__ import annotations

from typing import Any

import redis

from cachemesh import CacheMesh
from cachemesh.local import LocalStack
from tests.support.waiting import until


def test_no_key_is_missed_when_a_replica_takes_over() -> None:
    """A server's cursor has no meaning to its replica, so that shard is scanned again."""
    keys = {f"k{i}" for i in range(400)}
    stack = LocalStack(shards=2, replicas=1, metaservers=0, down_after_ms=500)
    with stack, CacheMesh.from_url(stack.info["url"], decode_responses=True) as client:
        mesh: Any = client
        mesh.mset(dict.fromkeys(keys, "v"))
        for shard in stack.info["shards"]:
            wait_for_replica(shard["master"])
        cursor, page = mesh.scan(count=20)
        found = set(page)
        for _ in range(4):
            cursor, page = mesh.scan(cursor, count=20)
            found.update(page)
        old = mesh.topology.masters["cache-0"]
        stack.process(str(old)).kill()
        until(lambda: mesh.topology.masters["cache-0"] != old)
        while cursor:
            cursor, page = mesh.scan(cursor, count=20)
            found.update(page)
        assert found == keys


def wait_for_replica(master: str) -> None:
    """Wait until the replica has all that was written so far."""
    host, port = master.split(":")
    with redis.Redis(host=host, port=int(port)) as client:
        direct: Any = client
        written = direct.info("replication")["master_repl_offset"]
        until(lambda: direct.info("replication")["slave0"]["offset"] >= written)
