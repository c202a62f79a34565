"""What goes wrong: each fault is a function of a site and a shard."""

from __future__ import annotations

import time

from benchmarks.failover.site import Site, ask, wait_for


def kill_master(site: Site, shard: str) -> None:
    """SIGKILL; it does not come back."""
    site.stack.process(site.stack.master_of(shard)).kill()


def kill_shard(site: Site, shard: str) -> None:
    """SIGKILL for all of its instances, replicas first so that none is promoted."""
    for address in reversed(site.instances(shard)):
        site.stack.process(address).kill()


def freeze_master(site: Site, shard: str, seconds: float) -> None:
    """SIGSTOP, and SIGCONT after ``seconds``; returns then."""
    process = site.stack.process(site.stack.master_of(shard))
    process.pause()
    try:
        time.sleep(seconds)
    finally:
        process.resume()


def sentinel_failover(site: Site, shard: str) -> None:
    """SENTINEL FAILOVER, as operators do it; returns once Sentinel names the new master."""
    before = site.stack.master_of(shard)
    ask(site.stack.info["sentinels"][0], "SENTINEL", "FAILOVER", shard)
    wait_for(lambda: site.stack.master_of(shard) != before, 30.0, f"{before} is still master")


def planned_failover(site: Site, shard: str) -> None:
    """The metaserver's planned failover; returns when it is done. Raises CacheMeshError."""
    pool = site.stack.info["pool"]
    site.api().request("POST", f"/v1/pools/{pool}/shards/{shard}/failover", {}, timeout=60.0)
