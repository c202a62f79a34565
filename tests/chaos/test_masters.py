"""Masters that die, stop, are replaced, or restart before a failover."""

from __future__ import annotations

from benchmarks.failover import faults
from benchmarks.failover.site import Site
from tests.support.client_load import under_load


def test_killed(here: Site) -> None:
    shard = here.shards[0]
    before = here.stack.master_of(shard)
    with under_load(here, hit=shard):
        faults.kill_master(here, shard)
        faults.await_another(here, shard, before)


def test_stopped_and_continued(here: Site) -> None:
    shard = here.shards[1]
    with under_load(here, hit=shard) as running:
        faults.freeze_until_replaced(here, shard)
        running.await_writes(each=100)  # the old master is back, and is not to be written to


def test_sentinel_failover(here: Site) -> None:
    shard = here.shards[2]
    with under_load(here, hit=shard):
        faults.sentinel_failover(here, shard)


def test_restarted_before_a_failover(here: Site) -> None:
    """The master restarts empty and stays master: its own data is lost, and nothing else."""
    shard = here.shards[0]
    before = here.stack.master_of(shard)
    with under_load(here, hit=shard, failover=False):
        faults.restart_master(here, shard)
        assert str(here.settle(shard)) == before
