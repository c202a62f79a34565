"""Statuses of pools as the metaserver sends them, for tests of the dashboard."""

from __future__ import annotations

from typing import Any


def instance(address: str, **changes: Any) -> dict[str, Any]:
    """Return an instance that is up."""
    return {
        "address": address,
        "up": True,
        "role": "master",
        "error": None,
        "ops_per_second": 100,
        "hit_ratio": 0.5,
        "used_memory": 1024,
        "maxmemory": 4096,
        "keys": 10,
        "clients": 2,
    } | changes


def dead(address: str) -> dict[str, Any]:
    """Return an instance that does not answer."""
    return {"address": address, "up": False, "role": None, "error": "Connection refused"}


def shard(name: str, share: float, master: dict[str, Any], *replicas: Any) -> dict[str, Any]:
    """Return a shard that is up."""
    return {
        "name": name,
        "weight": 1,
        "slots": int(16384 * share),
        "share": share,
        "state": "up",
        "reason": None,
        "master": master,
        "replicas": list(replicas),
        "sentinel": {},
    }


def status(*shards: dict[str, Any]) -> dict[str, Any]:
    """Return the status of a pool that is well."""
    return {"pool": "cache", "version": 4, "health": "ok", "shards": list(shards), "clients": 3}


def pool_of(count: int, **states: str) -> dict[str, Any]:
    """Return the status of a pool of shards cache-0, cache-1, ... with equal shares.

    Args:
        states: of single shards, as cache_3="down".
    """
    shards = [
        shard(f"cache-{number}", 1 / count, instance(f"10.0.0.{number}:6379"))
        for number in range(count)
    ]
    for each in shards:
        state = states.get(each["name"].replace("-", "_"), "up")
        if state == "down":
            each["master"] = dead(each["master"]["address"])
        if state != "up":
            each |= {"state": state, "reason": f"{each['name']}: why"}
    return status(*shards)
