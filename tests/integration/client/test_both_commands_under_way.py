"""A command for several shards, under way as a resize begins that one of them loses keys in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh.core.migration.phase import Migration
from cachemesh.core.placement import Placement
from cachemesh.local import Process
from tests.support.both_clients import CLIENTS, Caller, calling
from tests.support.movable_pool import reset
from tests.support.plain_redis import direct
from tests.support.resizable_pool import ResizablePool
from tests.support.waiting import AT_MOST, until

NAMES = [f"key:{number}" for number in range(200)]
REFUSALS = {"maxmemory": 1, "min-replicas-to-write": 1}


@pytest.fixture
def servers(redises: list[Process]) -> Iterator[list[Process]]:
    for process in redises:
        reset(process)
    yield redises
    with direct(redises[2]) as client:
        for setting in REFUSALS:
            client.config_set(setting, 0)


@pytest.fixture
def pool(servers: list[Process], tmp_path: Path) -> Iterator[ResizablePool]:
    with ResizablePool(servers, tmp_path) as pool:
        yield pool


def slots(first: int) -> Placement:
    """Return a placement in which cache-0 has the slots up to the first, cache-2 the last ones."""
    ranges = {"cache-0": [0, first], "cache-1": [first + 1, 10_000], "cache-2": [10_001, 16383]}
    shards = [{"name": name, "weight": 1, "slots": [each]} for name, each in ranges.items()]
    return Placement.from_dict(
        {"strategy": "slots", "hash": "crc16", "hash_tag": "{}", "shards": shards}
    )


BEFORE, AFTER = slots(5000), slots(2500)
STAYS = next(k for k in NAMES if BEFORE.shard_for(k) == AFTER.shard_for(k) == "cache-0")
OTHER = next(k for k in NAMES if BEFORE.shard_for(k) == "cache-2")
"""A key of the shard that is retired, and one of a shard that is not."""


def tell(pool: ResizablePool, call: Caller, migration: Migration | None = None) -> None:
    """Have the client act on a document."""
    version = pool.write(BEFORE, migration)
    core = call.mesh._core
    core.membership.fetch(version)
    until(lambda: core.acts_on(version))


def server_of(pool: ResizablePool, shard: str) -> str:
    """Return where the master of a shard is."""
    host, port = pool.masters[shard]
    return f"{host}:{port}"


def sent_late(pool: ResizablePool, call: Caller, *words: Any) -> Any:
    """Return the reply to a command that is routed, and sent once cache-0 is retired."""
    tell(pool, call)
    call(lambda mesh: mesh.ping())
    routed_by = call.mesh._core.route_table
    tell(pool, call, Migration("prepare", AFTER, moves=True))
    until(call.mesh._core.drained)
    return call(lambda mesh: mesh._execute_planned(words, routed_by, True))


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("options", [{}, {"retry_writes": True}, {"on_error": "miss"}])
@pytest.mark.parametrize("keys", [(STAYS, OTHER), (OTHER, STAYS)])
def test_an_error_of_another_shard_is_raised(
    kind: str, options: dict[str, Any], keys: tuple[str, str], pool: ResizablePool
) -> None:
    with (
        calling(kind, pool.url, socket_timeout=AT_MOST, **options) as call,
        direct(server_of(pool, "cache-2")) as full,
    ):
        call(lambda mesh: mesh.ping())
        full.config_set("maxmemory", 1)
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            sent_late(pool, call, "MSET", keys[0], "new", keys[1], "new")


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_write_that_another_shard_refuses_is_dropped(kind: str, pool: ResizablePool) -> None:
    with (
        calling(kind, pool.url, socket_timeout=AT_MOST, on_error="miss") as call,
        direct(server_of(pool, "cache-2")) as alone,
    ):
        call(lambda mesh: mesh.ping())
        alone.config_set("min-replicas-to-write", 1)
        assert sent_late(pool, call, "MSET", STAYS, "new", OTHER, "new") is None
        assert call.driven.mget(STAYS, OTHER) == [b"new", None]
        assert call.health("cache-2").dropped == 1
