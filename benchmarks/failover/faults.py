"""The faults: each is a function that makes a shard of a site fail."""

from __future__ import annotations

import time

from benchmarks.failover.site import Site, ask, wait_for


def kill_master(site: Site, shard: str) -> None:
    """Kill the master; it is not started again."""
    site.stack.process(site.stack.master_of(shard)).kill()


def restart_master(site: Site, shard: str) -> None:
    """Kill the master and start it at the same address, before Sentinel notices."""
    process = site.stack.process(site.stack.master_of(shard))
    process.kill()
    process.spawn()


def kill_shard(site: Site, shard: str) -> None:
    """Kill all instances of the shard, replicas first so that none is promoted."""
    for address in reversed(site.instances(shard)):
        site.stack.process(address).kill()


def freeze_shard(site: Site, shard: str) -> None:
    """Pause all instances of the shard (SIGSTOP), replicas first so that none is promoted."""
    for address in reversed(site.instances(shard)):
        site.stack.process(address).pause()


def freeze_master(site: Site, shard: str, seconds: float) -> None:
    """Pause the master for a time (SIGSTOP, then SIGCONT after ``seconds``)."""
    process = site.stack.process(site.stack.master_of(shard))
    process.pause()
    try:
        time.sleep(seconds)
    finally:
        process.resume()


def freeze_until_replaced(site: Site, shard: str) -> None:
    """Pause the master until Sentinel names another one, then let it go on."""
    before = site.stack.master_of(shard)
    process = site.stack.process(before)
    process.pause()
    try:
        await_another(site, shard, before)
    finally:
        process.resume()


def await_another(site: Site, shard: str, before: str) -> None:
    """Wait until Sentinel names another master than ``before``. Raises AssertionError."""
    wait_for(lambda: site.stack.master_of(shard) != before, 120.0, f"{before} is still master")


def sentinel_failover(site: Site, shard: str) -> None:
    """Send SENTINEL FAILOVER, as operators do, and wait until Sentinel names a new master."""
    before = site.stack.master_of(shard)
    ask(site.stack.info["sentinels"][0], "SENTINEL", "FAILOVER", shard, timeout=30.0)
    await_another(site, shard, before)


def planned_failover(site: Site, shard: str, hurry: bool = False) -> None:
    """Have the metaserver make a planned failover, and wait for its end.

    Args:
        site: the servers.
        shard: to fail over.
        hurry: begin at once, not at the moment at which Sentinel notices the promotion soonest.

    Raises:
        CacheMeshError: the failover was refused or undone.
    """
    path = f"/v1/pools/{site.stack.info['pool']}/shards/{shard}/failover"
    site.api().request("POST", path, {"hurry": hurry}, timeout=60.0)
