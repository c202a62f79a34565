"""Sentinels of a stack: what they say, failovers, and pools that are discovered through them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

from benchmarks.failover.site import as_map
from cachemesh.core.names import Address, parse_address
from cachemesh.core.pool.topology import Topology
from cachemesh.discovery.membership import Membership
from cachemesh.discovery.url import parse_url
from cachemesh.local import LocalStack
from tests.support.plain_redis import direct
from tests.support.waiting import until


def sentinel(address: str, *words: str) -> Any:
    """Return the reply to a SENTINEL subcommand."""
    with direct(address) as client:
        return client.execute_command("SENTINEL", *words)


def master_of(stack: LocalStack, shard: str) -> Address:
    """Return the address of the master, as the Sentinels agree."""
    return parse_address(stack.master_of(shard))


def agreed(stack: LocalStack, shard: str) -> bool:
    """Return whether all Sentinels name the same master."""
    return len({master_seen(address, shard) for address in stack.info["sentinels"]}) == 1


def master_seen(address: str, shard: str) -> Address:
    """Return the master that one Sentinel names."""
    host, port = sentinel(address, "GET-MASTER-ADDR-BY-NAME", shard)
    return Address(host, int(port))


def keep_masters(stack: LocalStack, milliseconds: int = 600_000) -> None:
    """Make Sentinels fail no shard over of their own accord, however slow the machine is.

    Args:
        stack: with the Sentinels.
        milliseconds: how long an instance must not answer to be called down.
    """
    for address in stack.info["sentinels"]:
        for shard in stack.info["shards"]:
            words = ("down-after-milliseconds", str(milliseconds))
            sentinel(address, "SET", shard["name"], *words)


def fail_over(stack: LocalStack, shard: str) -> tuple[Address, Address]:
    """Fail the shard over by SENTINEL FAILOVER; return the former and the new master.

    A failover that the Sentinel gives up, as a slow replica was not promoted in time, is begun
    again.
    """
    until(lambda: agreed(stack, shard))
    before = master_of(stack, shard)
    first = stack.info["sentinels"][0]

    def moved() -> bool:
        # One reply tells both: with the former master and no failover in progress, none can end
        # between this question and the next command.
        state = as_map(sentinel(first, "MASTER", shard))
        if Address(state["ip"], int(state["port"])) != before:
            return True
        if "failover_in_progress" not in state["flags"]:
            with suppress(redis.ResponseError):  # the one before is not quite over
                sentinel(first, "FAILOVER", shard)
        return False

    until(moved)
    return before, master_seen(first, shard)


def pool_file(path: Path, sentinels: list[str], shards: list[str], **settings: float) -> str:
    """Write a document of a pool with these shards to a file, and return its URL."""
    step = 16_384 // len(shards)
    ends = [step * number for number in range(len(shards))] + [16_384]
    placed = [
        {"name": name, "weight": 1, "slots": [[ends[i], ends[i + 1] - 1]]}
        for i, name in enumerate(shards)
    ]
    document = {
        "format": 1,
        "pool": "cache",
        "version": 1,
        "placement": {"strategy": "slots", "hash": "crc16", "hash_tag": "{}", "shards": placed},
        "migration": None,
        "sentinels": sentinels,
        "settings": settings,
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    return f"cachemesh+file://{path}"


@contextmanager
def following(
    url: str, listener: Callable[[Topology], None] = lambda _: None, **options: Any
) -> Iterator[Membership]:
    """Follow the pool for the block, as a client does."""
    membership = Membership(parse_url(url, options), listener)
    try:
        yield membership
    finally:
        membership.close()


def routes_by(mesh: Any, version: int) -> bool:
    """Return whether the client routes by that version of the pool, or by a later one."""
    document = mesh.topology.document
    return document.version >= version and mesh.route_table().placement is document.placement


def follower_threads() -> list[str]:
    """Return the names of all threads that follow a pool."""
    return sorted(t.name for t in threading.enumerate() if t.name.startswith("cachemesh-"))
