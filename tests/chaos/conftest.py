"""A fresh stack for each test, to break."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.failover.site import Site, site
from tests.support.needs import needs


@pytest.fixture(scope="session", autouse=True)
def redis_server() -> str:
    """The path of the redis-server that the tests of this directory start."""
    return needs("redis-server")


@pytest.fixture
def here() -> Iterator[Site]:
    """Three shards with a replica each, three Sentinels, no metaserver."""
    with site(3, replicas=1) as running:
        yield running
