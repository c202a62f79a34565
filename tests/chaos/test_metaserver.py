"""Apps do not notice that the metaserver is dead, not even during a failover."""

from __future__ import annotations

from benchmarks.failover import faults
from benchmarks.failover.site import site
from tests.support.client_load import under_load


def test_nobody_notices() -> None:
    with site(2, replicas=1, metaservers=1) as here, under_load(here) as running:
        metaserver = here.stack.process(here.stack.info["metaservers"][0])
        metaserver.kill()
        running.await_writes()
        metaserver.restart()


def test_a_master_dies_meanwhile() -> None:
    with site(2, replicas=1, metaservers=1) as here:
        shard = here.shards[0]
        with under_load(here, hit=shard):
            here.stack.process(here.stack.info["metaservers"][0]).kill()
            faults.kill_master(here, shard)
