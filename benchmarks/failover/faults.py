"""What goes wrong: each fault is a function of a site and a shard."""

from __future__ import annotations

import time

from benchmarks.failover.site import Site, ask, wait_for


def kill_master(site: Site, shard: str) -> None:
    """SIGKILL; it does not come back."""
    site.stack.process(site.stack.master_of(shard)).kill()


def restart_master(site: Site, shard: str) -> None:
    """SIGKILL and at once a start at the same address: before Sentinel has noticed."""
    process = site.stack.process(site.stack.master_of(shard))
    process.kill()
    process.spawn()


def kill_shard(site: Site, shard: str) -> None:
    """SIGKILL for all of its instances, replicas first so that none is promoted."""
    for address in reversed(site.instances(shard)):
        site.stack.process(address).kill()


def freeze_shard(site: Site, shard: str) -> None:
    """SIGSTOP for all of its instances, replicas first so that none is promoted."""
    for address in reversed(site.instances(shard)):
        site.stack.process(address).pause()


def freeze_master(site: Site, shard: str, seconds: float) -> None:
    """SIGSTOP, and SIGCONT after ``seconds``; returns then."""
    process = site.stack.process(site.stack.master_of(shard))
    process.pause()
    try:
        time.sleep(seconds)
    finally:
        process.resume()


def freeze_until_replaced(site: Site, shard: str) -> None:
    """SIGSTOP until Sentinel names another master, then SIGCONT."""
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
    """SENTINEL FAILOVER, as operators do it; returns once Sentinel names the new master."""
    before = site.stack.master_of(shard)
    ask(site.stack.info["sentinels"][0], "SENTINEL", "FAILOVER", shard, timeout=30.0)
    await_another(site, shard, before)


def planned_failover(site: Site, shard: str, hurry: bool = False) -> None:
    """The metaserver's planned failover; returns when it is done.

    Args:
        hurry: begin at once, not at the moment at which Sentinel notices the promotion soonest.

    Raises:
        CacheMeshError: it was refused, or undone.
    """
    path = f"/v1/pools/{site.stack.info['pool']}/shards/{shard}/failover"
    site.api().request("POST", path, {"hurry": hurry}, timeout=60.0)
