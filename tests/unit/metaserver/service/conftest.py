from __future__ import annotations

import pytest

from metaserver.service.context import ServiceContext
from metaserver.store import Store
from tests.support.service_context import context_of


@pytest.fixture
def store(sqlite_store: Store) -> Store:
    return sqlite_store


@pytest.fixture
def context(store: Store) -> ServiceContext:
    return context_of(store)
