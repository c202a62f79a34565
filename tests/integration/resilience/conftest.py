"""A shard with a replica that no Sentinel watches."""

from __future__ import annotations

import pytest

from cachemesh.local import Process
from tests.support.movable_pool import MovablePool
from tests.support.plain_redis import direct, target
from tests.support.replicated_stack import in_step
from tests.support.waiting import until


@pytest.fixture
def pair(site: MovablePool, redises: list[Process]) -> list[Process]:
    """The master of cache-0 of `site`, and its replica in step."""
    old, _, new = redises
    with direct(new) as replica:
        replica.replicaof(*target(old))
    until(lambda: in_step(new))
    return [old, new]
