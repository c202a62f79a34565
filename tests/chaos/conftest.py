"""A fresh stack for each test, to break."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.failover.site import Site, site
from tests.support.needs import needs
from tests.support.zookeeper import Ensemble


@pytest.fixture(scope="session", autouse=True)
def redis_server() -> str:
    """The path of the redis-server that the tests of this directory start."""
    return needs("redis-server")


@pytest.fixture
def here() -> Iterator[Site]:
    """Three shards with a replica each, three Sentinels, no metaserver."""
    with site(3, replicas=1) as running:
        yield running


@pytest.fixture(scope="session")
def running_ensemble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    """Three ZooKeepers, which the tests of a worker share."""
    with Ensemble(tmp_path_factory.mktemp("ensemble"), 3) as running:
        yield running


@pytest.fixture
def ensemble(running_ensemble: Ensemble) -> Ensemble:
    """Three ZooKeepers, all of which run when the test begins."""
    running_ensemble.start()
    return running_ensemble
