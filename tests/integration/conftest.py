"""Real servers for every test of this directory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from cachemesh.local import LocalStack
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
