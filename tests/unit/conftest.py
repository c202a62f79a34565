"""Every implementation of the store, for the tests of its contract."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metaserver.process.config import ZookeeperOptions
from metaserver.store import Store
from metaserver.store.sqlite import SqliteStore
from metaserver.store.zookeeper import ZookeeperStore
from tests.support.zookeeper import Ensemble

Opener = Callable[[], Store]


@pytest.fixture(scope="session")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    """A ZooKeeper of one server."""
    with Ensemble(tmp_path_factory.mktemp("zookeeper"), 1) as running:
        yield running


@pytest.fixture(params=["sqlite", "zookeeper"])
def another(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Open further stores on the same data, as other processes would."""
    opened: list[Store] = []
    if request.param == "zookeeper":
        hosts = request.getfixturevalue("zookeeper").hosts
        options = ZookeeperOptions(hosts, f"/{uuid.uuid4().hex}")

    def open_store() -> Store:
        if request.param == "sqlite":
            opened.append(SqliteStore(tmp_path / "meta.db"))
        else:
            opened.append(ZookeeperStore(options))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()


@pytest.fixture
def store(another: Opener) -> Store:
    """A store."""
    return another()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """A store, for what does not depend on which it is."""
    store = SqliteStore(tmp_path / "meta.db")
    yield store
    store.close()
