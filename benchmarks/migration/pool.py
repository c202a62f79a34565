"""A pool of four shards that is full of keys, and a fifth shard to add."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cachemesh import CacheMesh
from cachemesh.core.names import Address
from cachemesh.local import LocalStack
from cachemesh.local.probes import connect

SHARDS = 4
POOL = "/v1/pools/cache"
_BATCH = 1000
_LOOK_EVERY = 0.1  # seconds; looks take time of the metaserver, which moves the keys
_SETTLED_WITHIN = 600.0


@contextmanager
def filled_pool(keys: int, replicas: int) -> Iterator[LocalStack]:
    """Start a pool with so many keys."""
    with LocalStack(
        shards=SHARDS, replicas=replicas, sentinels=1, metaservers=1, dashboard=False
    ) as stack:
        url = f"cachemesh://{stack.info['metaservers'][0]}/cache"
        with CacheMesh.from_url(url, token=stack.token) as client:
            for first in range(0, keys, _BATCH):
                numbers = range(first, min(keys, first + _BATCH))
                client.mset({f"key:{n}": f"value:{n}" for n in numbers})
        yield stack


def spare_of(stack: LocalStack, replicas: int) -> str:
    """Start a master outside the pool with so many replicas, and return its address."""
    spare = stack.start_redis()
    for _ in range(replicas):
        _replicate(stack.start_redis().address, spare.address)
    return str(spare.address)


def _replicate(replica: Address, master: Address) -> None:
    client = connect(replica)
    client.replicaof(*master)
    until(lambda: client.info("replication")["master_link_status"] == "up")
    with connect(master) as source:  # the first acknowledgement takes up to a second
        source.publish("replicated", "")
        until(lambda: bool(source.wait(1, 1000)))


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; SystemExit if it takes too long."""
    deadline = time.monotonic() + _SETTLED_WITHIN
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"no end within {_SETTLED_WITHIN:g} s")
        time.sleep(_LOOK_EVERY)
