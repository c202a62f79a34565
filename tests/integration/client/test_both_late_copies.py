"""A copy that arrives late, as where a network loses packets, brings no deleted key back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachemesh.core.migration.phase import Migration
from cachemesh.core.names import parse_address
from cachemesh.core.placement import Placement
from cachemesh.local import Process
from tests.support.both_clients import CLIENTS, Caller, calling
from tests.support.movable_pool import reset
from tests.support.relay import LateRelay
from tests.support.resizable_pool import ResizablePool
from tests.support.waiting import AT_MOST, until

PATIENT: dict[str, Any] = {"socket_timeout": AT_MOST}


@pytest.fixture
def servers(redises: list[Process]) -> Iterator[list[Process]]:
    for process in redises:
        reset(process)
    yield redises


def tell(pool: ResizablePool, call: Caller, before: Placement, migration: Migration) -> None:
    """Have the client act on a document."""
    version = pool.write(before, migration)
    core = call.mesh._core
    core.membership.fetch(version)
    until(lambda: core.acts_on(version))


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_copy_that_arrives_late_brings_no_deleted_key_back(
    kind: str, servers: list[Process], tmp_path: Path
) -> None:
    source, target = servers[:2]
    with (
        LateRelay(str(target.address), b"RESTORE") as relay,
        ResizablePool([source, target], tmp_path) as pool,
        calling(kind, pool.url, **PATIENT) as call,
    ):
        pool.masters["cache-1"] = parse_address(relay.address)
        key = next(k for k in map(str, range(99)) if pool.large.shard_for(k) == "cache-1")
        client = call.driven
        client.set(key, "old")
        tell(pool, call, pool.small, Migration("prepare", pool.large, moves=True))
        until(call.mesh._core.drained)
        tell(pool, call, pool.small, Migration("move", pool.large, moves=True))
        assert client.delete(key) == 1
        assert relay.kept.is_set(), "the source has given up a copy, and made another"
        relay.let_arrive()
        assert client.get(key) is None, "a deleted key is back"
