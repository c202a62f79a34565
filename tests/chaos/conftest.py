"""A stack to break, for each test a fresh one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.failover.site import Site, site


@pytest.fixture
def here() -> Iterator[Site]:
    """Three shards with a replica each, three Sentinels, no metaserver."""
    with site(3, replicas=1) as running:
        yield running
