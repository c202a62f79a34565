"""The servers all peers are measured against: a pool of shards, and one server alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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
def running() -> Iterator[Servers]:
    """Real processes on free ports, gone afterwards.

    Raises:
        LocalStackError: they do not start.
    """
    with LocalStack(shards=SHARDS, replicas=0, sentinels=1, dashboard=False) as stack:
        host, port = stack.start_redis().address
        yield Servers((host, port), stack.info["url"], stack.info["token_file"])
