from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metaserver.service.context import ServiceContext
from metaserver.store import Store
from metaserver.store.sqlite import SqliteStore
from tests.support.service_context import context_of


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = SqliteStore(tmp_path / "meta.db")
    yield store
    store.close()


@pytest.fixture
def context(store: Store) -> ServiceContext:
    return context_of(store)
