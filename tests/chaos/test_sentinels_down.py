"""Dead or stopped Sentinels: apps go on as long as no failover is needed."""

from __future__ import annotations

import pytest
import redis

from benchmarks.failover import faults
from benchmarks.failover.contenders import CONTENDERS
from benchmarks.failover.contenders.base import Contender
from benchmarks.failover.site import Site, site
from tests.support.client_load import under_load

_WITHOUT = 100
"""How many writes each writer makes without the Sentinels."""


def sentinels(here: Site, count: int) -> list[str]:
    return list(here.stack.info["sentinels"][:count])


@pytest.mark.parametrize("count", [2, 3])
def test_dead_ones_are_not_noticed(here: Site, count: int) -> None:
    with under_load(here) as running:
        for address in sentinels(here, count):
            here.stack.process(address).kill()
        running.await_writes(each=_WITHOUT)
        for address in sentinels(here, count):
            here.stack.process(address).restart()


def test_a_master_restarts_while_all_are_dead(here: Site) -> None:
    """The master keeps its address, so what clients remember stays right."""
    shard = here.shards[0]
    with under_load(here, hit=shard, failover=False) as running:
        for address in sentinels(here, 3):
            here.stack.process(address).kill()
        master = next(s["master"] for s in here.stack.info["shards"] if s["name"] == shard)
        process = here.stack.process(master)
        process.kill()
        process.spawn()
        running.await_writes()
        for address in sentinels(here, 3):
            here.stack.process(address).restart()


def test_frozen_ones_delay_nobody(here: Site) -> None:
    """A stopped Sentinel accepts connections and costs a timeout, but only in the background."""
    with under_load(here) as running:
        for address in sentinels(here, 2):
            here.stack.process(address).pause()
        running.await_writes(each=_WITHOUT)
        for address in sentinels(here, 2):
            here.stack.process(address).resume()


def test_failover_is_found_where_the_first_sentinel_is_frozen() -> None:
    """Two of three Sentinels are a majority."""
    with site(1, replicas=1) as here:
        shard = here.shards[0]
        with under_load(here, hit=shard):
            here.stack.process(sentinels(here, 1)[0]).pause()
            faults.kill_master(here, shard)


def test_a_client_that_starts_while_all_are_dead_says_so() -> None:
    with site(1, replicas=0) as here:
        for address in sentinels(here, 3):
            here.stack.process(address).kill()
        contender = CONTENDERS["cachemesh"]
        assert isinstance(contender, Contender)
        client = contender.connect(here)
        with pytest.raises(redis.ConnectionError, match="Sentinel"):
            client.call(here.shards[0], "GET", "x")
        client.close()
