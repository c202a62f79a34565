"""The servers all peers are measured against: a pool of shards, and one server alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.cores import Cores, running_on
from cachemesh.local import LocalStack

SHARDS = 4


@dataclass(frozen=True)
class Servers:
    """Where they listen.

    Attributes:
        single: host and port of a redis-server outside the pool.
        pool_url: what `CacheMesh.from_url` takes; the pool has `SHARDS` masters.
        token_file: the file with the metaserver's token.
    """

    single: tuple[str, int]
    pool_url: str
    token_file: str


@contextmanager
def running(cores: Cores) -> Iterator[Servers]:
    """Real processes on free ports, gone afterwards; the block runs on the client's core.

    Raises:
        LocalStackError: they do not start.
    """
    stack = LocalStack(shards=SHARDS, replicas=0, sentinels=1, dashboard=False)
    try:
        with running_on(cores.servers):  # processes inherit it
            stack.start()
            host, port = stack.start_redis().address
        with running_on(cores.client):
            yield Servers((host, port), stack.info["url"], stack.info["token_file"])
    finally:
        stack.stop()
