"""Every implementation of the store, for the tests of its contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metaserver.store import Store
from metaserver.store.sqlite import SqliteStore

Opener = Callable[[], Store]

STORES: dict[str, Callable[[Path], Store]] = {
    "sqlite": lambda directory: SqliteStore(directory / "meta.db")
}


@pytest.fixture(params=list(STORES))
def another(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Open further stores on the same data, as other processes would."""
    opened: list[Store] = []

    def open_store() -> Store:
        opened.append(STORES[request.param](tmp_path))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()


@pytest.fixture
def store(another: Opener) -> Store:
    """A store."""
    return another()
