"""pytest fixtures for tests against a real CacheMesh; installing the package registers them.

def test_my_cache(cachemesh_client):
    cachemesh_client.set("greeting", "hello")
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # imported late: pytest loads this plugin for every run on the machine
    from cachemesh import CacheMesh
    from cachemesh.local import LocalStack


@pytest.fixture(scope="session")
def cachemesh_stack() -> Iterator[LocalStack]:
    """A running stack: 3 shards with a replica each, 3 Sentinels, a metaserver, no dashboard.

    The whole test session shares the stack. A test that stops one of its processes restarts it,
    or uses a `cachemesh.local.LocalStack` of its own. Clients store no snapshots meanwhile, unless
    CACHEMESH_SNAPSHOT_DIR is set: the next stack is another one.
    """
    from cachemesh.local import LocalStack

    with pytest.MonkeyPatch.context() as patch, LocalStack(dashboard=False) as stack:
        if "CACHEMESH_SNAPSHOT_DIR" not in os.environ:
            patch.setenv("CACHEMESH_SNAPSHOT_DIR", "off")
        yield stack


@pytest.fixture
def cachemesh_client(cachemesh_stack: LocalStack) -> Iterator[CacheMesh]:
    """A client of the pool of `cachemesh_stack`, which is empty when the test begins."""
    from cachemesh import CacheMesh

    client = CacheMesh.from_url(cachemesh_stack.info["url"], token=cachemesh_stack.token)
    try:
        client.flushall()
        yield client
    finally:
        client.close()
