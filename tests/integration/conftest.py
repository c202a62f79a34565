"""For every test here: real servers."""

from __future__ import annotations

import pytest

from tests.needs import needs


@pytest.fixture(scope="session", autouse=True)
def redis_server() -> str:
    """The redis-server that everything here runs on."""
    return needs("redis-server")
