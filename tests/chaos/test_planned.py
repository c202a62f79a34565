"""A planned failover under load: nothing is lost, and no app sees an error."""

from __future__ import annotations

from benchmarks.failover import faults
from benchmarks.failover.site import site
from tests.support.client_load import under_load


def test_nobody_notices() -> None:
    with site(2, replicas=2, metaservers=1) as here:
        shard = here.shards[0]
        before = here.stack.master_of(shard)
        with under_load(here, hit=shard, lossless=True) as running:
            faults.planned_failover(here, shard, hurry=True)
            assert here.stack.master_of(shard) != before
        failures = [failure for writer in running.writers for failure in writer.failures]
        assert running.stood_still or not failures
