"""Sentinel's pub/sub goes silently deaf: polling is what notices the failover then."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.failover import faults
from benchmarks.failover.cases.base import BLOCKING, Case, Manner, Result, seconds
from benchmarks.failover.contenders import AsyncContender, Contender
from benchmarks.failover.forwarder import forwarded
from benchmarks.failover.site import Site, site

_MOST, _PATIENCE = 5.0, 12.0
_SUBSCRIBED = 1.5  # seconds a client gets to hear Sentinels, before they fall silent


class Deaf(Case):
    """An idle client: it sends nothing that could fail and tell it."""

    name = "deaf"
    what = "Sentinel pub/sub silently deaf, client idle: failover noticed after"
    bar = f"<= {_MOST:g} s"
    contenders = BLOCKING

    def run(self, contender: Contender | AsyncContender, manner: Manner) -> Result:
        assert isinstance(contender, Contender)
        with site(1, replicas=1) as plain, forwarded(plain) as (here, forwarders):
            shard = here.shards[0]
            client: Any = contender.connect(here)
            client.call(shard, "GET", "x")
            time.sleep(_SUBSCRIBED)
            for forwarder in forwarders:
                forwarder.deaf = True
            faults.sentinel_failover(here, shard)
            noticed = _until_noticed(client, here, shard)
            client.close()
        if noticed is None:
            return Result(f"not within {_PATIENCE:g} s", False, {"noticed": None})
        return Result(seconds(noticed), noticed <= _MOST, {"noticed": noticed})


def _until_noticed(client: Any, here: Site, shard: str) -> float | None:
    wanted = here.settle(shard)
    began = time.monotonic()
    while time.monotonic() < began + _PATIENCE:
        if _known(client, shard) == tuple(wanted):
            return time.monotonic() - began
        time.sleep(0.01)
    return None


def _known(client: Any, shard: str) -> tuple[str, int] | None:
    """Where the client thinks the master is; asking it sends nothing."""
    if hasattr(client, "mesh"):
        known = client.mesh.topology.masters.get(shard)
    else:
        known = client.masters[shard].connection_pool.master_address
    return None if known is None else (known[0], int(known[1]))
