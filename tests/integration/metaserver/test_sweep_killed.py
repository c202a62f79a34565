"""Sweeps by a real metaserver that is killed again and again."""

from __future__ import annotations

import time

from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from tests.support.metaserver_loops import sentinels
from tests.support.plain_redis import connect
from tests.support.waiting import until

KEYS = [f"key:{number}" for number in range(120_000)]


def fill(address: str) -> None:
    with connect(address) as client:
        for start in range(0, len(KEYS), 10_000):
            client.mset(dict.fromkeys(KEYS[start : start + 10_000], "value"))


def test_kill_9_at_any_moment_of_a_sweep() -> None:
    with LocalStack(shards=2, replicas=0, dashboard=False) as stack:
        api = MetaserverClient(stack.info["metaservers"], stack.token)
        server = stack.process(stack.info["metaservers"][0])
        kept, drained = (stack.master_of(shard) for shard in ("cache-0", "cache-1"))
        fill(kept)
        fill(drained)
        placement = PoolDocument.from_dict(api.request("GET", "/v1/pools/cache")).placement
        own = sum(placement.shard_for(key) == "cache-0" for key in KEYS)
        api.request("DELETE", "/v1/pools/cache/shards/cache-1", query={"strategy": "drop"})

        def left() -> int:
            with connect(drained) as client:
                return int(client.dbsize())

        until(lambda: left() < len(KEYS))
        for pause in (0.0, 0.02, 0.05):
            time.sleep(pause)
            server.kill()
            server.restart()

        def swept() -> bool:
            return not api.request("GET", "/v1/pools/cache/status")["sweeps"]

        until(swept)
        assert left() == 0
        with connect(kept) as client:
            assert client.dbsize() == own, "what was not its own was removed before"
        with sentinels(stack) as asked:
            until(lambda: set(asked.monitored()) == {"cache-0"})
        events = api.request("GET", "/v1/events")["events"]
        assert [event["action"] for event in events].count("sweep.done") == 1
