"""The control plane is dead: apps go on, through a failover too."""

from __future__ import annotations

from benchmarks.failover import faults
from benchmarks.failover.site import site
from tests.support.client_load import storm


def test_nobody_notices() -> None:
    with site(2, replicas=1, metaservers=1) as here, storm(here) as running:
        metaserver = here.stack.process(here.stack.info["metaservers"][0])
        metaserver.kill()
        running.await_writes()
        metaserver.restart()


def test_a_master_dies_meanwhile() -> None:
    with site(2, replicas=1, metaservers=1) as here:
        shard = here.shards[0]
        with storm(here, hit=shard):
            here.stack.process(here.stack.info["metaservers"][0]).kill()
            faults.kill_master(here, shard)
