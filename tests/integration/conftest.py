"""Real servers for every test of this directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh.local import LocalStack, Process
from tests.support.movable_pool import MovablePool, movable_pool_of, reset, unwatched_masters
from tests.support.needs import needs


@pytest.fixture(scope="session", autouse=True)
def redis_server() -> str:
    """The path of the redis-server that the tests of this directory start."""
    return needs("redis-server")


@pytest.fixture(scope="module")
def shards() -> Iterator[LocalStack]:
    """Three masters, to compare a pool with one server."""
    with LocalStack(shards=3, replicas=0, sentinels=1, metaservers=0) as running:
        yield running


@pytest.fixture(scope="module")
def alone(shards: LocalStack) -> Iterator[Any]:
    """A redis-py client of one server beside those masters."""
    address = shards.start_redis().address
    with redis.Redis(host=address.host, port=address.port) as client:
        yield client


@pytest.fixture(scope="module")
def redises() -> Iterator[list[Process]]:
    """Three masters that no Sentinel watches."""
    with unwatched_masters(3) as running:
        yield running


@pytest.fixture
def site(redises: list[Process], tmp_path: Path) -> Iterator[MovablePool]:
    """A movable pool of two shards on the first two of `redises`; all of them are reset."""
    for process in redises:
        reset(process)
    with movable_pool_of(redises[:2], tmp_path) as made:
        yield made
