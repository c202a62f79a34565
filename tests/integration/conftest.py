"""For every test here: real servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from cachemesh.local import LocalStack
from tests.support.needs import needs


@pytest.fixture(scope="session", autouse=True)
def redis_server() -> str:
    """The redis-server that everything here runs on."""
    return needs("redis-server")


@pytest.fixture(scope="module")
def shards() -> Iterator[LocalStack]:
    """Three masters, for what a pool does as one server does it."""
    with LocalStack(shards=3, replicas=0, sentinels=1, metaservers=0) as running:
        yield running


@pytest.fixture(scope="module")
def alone(shards: LocalStack) -> Iterator[Any]:
    """redis-py on that one server."""
    address = shards.start_redis().address
    with redis.Redis(host=address.host, port=address.port) as client:
        yield client
