"""A command for several shards, under way as a resize begins that one of them loses keys in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh.asyncio import client as asyncio_client
from cachemesh.asyncio import pipeline as asyncio_pipeline
from cachemesh.core.errors import CrossShardError, ShardTimeoutError
from cachemesh.core.migration.phase import Migration
from cachemesh.core.placement import Placement
from cachemesh.local import Process
from cachemesh.sync import pipeline as sync_pipeline
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
    call(lambda mesh: mesh.ping())
    tell(pool, call)
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
        full.config_set("maxmemory", 1)
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            sent_late(pool, call, "MSET", keys[0], "new", keys[1], "new")


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_write_that_another_shard_refuses_is_dropped(kind: str, pool: ResizablePool) -> None:
    with (
        calling(kind, pool.url, socket_timeout=AT_MOST, on_error="miss") as call,
        direct(server_of(pool, "cache-2")) as alone,
    ):
        alone.config_set("min-replicas-to-write", 1)
        assert sent_late(pool, call, "MSET", STAYS, "new", OTHER, "new") is None
        assert call.driven.mget(STAYS, OTHER) == [b"new", None]
        assert call.health("cache-2").dropped == 1


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_transaction_whose_keys_go_to_two_shards_is_refused(
    kind: str, pool: ResizablePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has found the one shard that has both keys, and is sent as a resize has begun."""
    goes = next(k for k in NAMES if BEFORE.shard_for(k) == "cache-0" != AFTER.shard_for(k))
    with (
        calling(kind, pool.url, socket_timeout=AT_MOST) as call,
        ThreadPoolExecutor(1) as threads,
        direct(server_of(pool, "cache-0")) as source,
    ):
        module: Any = asyncio_pipeline if call.loop else sync_pipeline
        send_parts, begun = module.send_parts, list[Any]()

        def begin() -> None:
            tell(pool, call, Migration("prepare", AFTER, moves=True))
            begun.append(threads.submit(go_on))

        def go_on() -> None:
            until(call.mesh._core.drained)
            tell(pool, call, Migration("move", AFTER, moves=True))

        def preempted(parts: Any, lazily: bool) -> Any:
            if not begun:
                begin()
            return send_parts(parts, lazily)

        async def preempted_async(parts: Any, lazily: bool) -> Any:
            if not begun:
                await asyncio.to_thread(begin)
            return await send_parts(parts, lazily)

        call(lambda mesh: mesh.ping())
        tell(pool, call)
        monkeypatch.setattr(module, "send_parts", preempted_async if call.loop else preempted)
        with pytest.raises(
            CrossShardError, match="on one shard, but SET goes to cache-0 and SET to cache-1"
        ):
            call(lambda mesh: mesh.pipeline(True).set(STAYS, 1).set(goes, 1).execute())
        begun[0].result(AT_MOST)
        assert source.exists(STAYS, goes) == 0


def test_a_client_whose_event_loop_was_closed_holds_up_no_resize(pool: ResizablePool) -> None:
    mesh: Any = asyncio_client.CacheMesh.from_url(pool.url, socket_timeout=2.0)
    key = next(k for k in NAMES if pool.small.shard_for(k) != pool.large.shard_for(k))
    assert asyncio.run(mesh.set(key, "value"))
    prepared = pool.write(pool.small, Migration("prepare", pool.large, moves=True))
    until(lambda: mesh._core.acts_on(prepared))
    assert mesh._core.membership.drained()

    async def in_another_loop() -> None:
        with pytest.raises(ShardTimeoutError):
            await mesh.get(key)
        assert mesh._core.drained()
        await mesh.aclose()

    asyncio.run(in_another_loop())
