"""Sentinel's pub/sub falls silent: only polling can notice a failover."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.failover import faults
from benchmarks.failover.cases.base import BLOCKING, Case, CaseResult, CaseSettings, seconds
from benchmarks.failover.contenders import AsyncContender, Contender
from benchmarks.failover.forwarder import forwarded
from benchmarks.failover.site import site
from cachemesh.core.names import Address, parse_address

_MOST, _NOTICED_WITHIN = 5.0, 12.0
_HEARD = (1.5, 2.5, 3.5)
"""Seconds that a client hears the Sentinels before they fall silent."""


class Deaf(Case):
    """The client is idle: no failing command can tell it of the failover."""

    name = "deaf"
    what = "Sentinel pub/sub silently deaf, client idle: failover noticed after, at worst of 3"
    bar = f"<= {_MOST:g} s"
    contenders = BLOCKING

    def run(self, contender: Contender | AsyncContender, settings: CaseSettings) -> CaseResult:
        assert isinstance(contender, Contender)
        times = [_noticed_after(contender, heard) for heard in _HEARD]
        late = [time for time in times if time is None]
        if late:
            return CaseResult(f"not within {_NOTICED_WITHIN:g} s", False, {"noticed": times})
        longest = max(time for time in times if time is not None)
        return CaseResult(seconds(longest), longest <= _MOST, {"noticed": times})


def _noticed_after(contender: Contender, heard: float) -> float | None:
    with site(1, replicas=1) as plain, forwarded(plain) as (here, forwarders):
        shard = here.shards[0]
        client: Any = contender.connect(here)
        client.call(shard, "GET", "x")
        time.sleep(heard)
        for forwarder in forwarders:
            forwarder.deaf = True
        faults.sentinel_failover(here, shard)
        noticed = _until_noticed(client, shard, parse_address(here.stack.master_of(shard)))
        client.close()
    return noticed


def _until_noticed(client: Any, shard: str, wanted: Address) -> float | None:
    """Return the seconds from when Sentinel names the new master until the client knows it."""
    began = time.monotonic()
    while time.monotonic() < began + _NOTICED_WITHIN:
        if _known(client, shard) == tuple(wanted):
            return time.monotonic() - began
        time.sleep(0.01)
    return None


def _known(client: Any, shard: str) -> tuple[str, int] | None:
    """Return the master's address that the client has; this sends no command."""
    if hasattr(client, "mesh"):
        known = client.mesh.topology.masters.get(shard)
    else:
        known = client.masters[shard].connection_pool.master_address
    return None if known is None else (known[0], int(known[1]))
