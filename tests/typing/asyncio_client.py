"""Types that users of the asyncio client see under mypy --strict; mypy checks, nothing runs."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import redis.asyncio
from typing_extensions import assert_type

from cachemesh.asyncio import CacheMesh
from cachemesh.asyncio.pipeline import Pipeline
from cachemesh.core.names import Address
from cachemesh.core.pool.topology import Topology
from cachemesh.core.pool.topology_health import TopologyHealth
from cachemesh.core.resilience.circuit_breaker import ShardHealth


async def construction() -> None:
    assert_type(CacheMesh("cachemesh://localhost/cache"), CacheMesh)
    assert_type(CacheMesh.from_url("cachemesh://localhost/cache", decode_responses=True), CacheMesh)
    assert_type(CacheMesh.from_env(), CacheMesh)
    async with CacheMesh.from_url("cachemesh://localhost/cache") as mesh:
        assert_type(mesh, CacheMesh)


def is_a_redis_client(mesh: CacheMesh) -> redis.asyncio.Redis:
    return mesh


class AppCache(CacheMesh):
    """A subclass of an app."""


async def subclasses_keep_their_type(mesh: AppCache) -> None:
    assert_type(AppCache.from_url("cachemesh://localhost/cache"), AppCache)
    assert_type(mesh.with_options(on_error="miss"), AppCache)
    assert_type(mesh.client(), AppCache)
    async with mesh as entered:
        assert_type(entered, AppCache)


async def commands(mesh: CacheMesh) -> None:
    """The commands have redis-py's own types: awaitables of what the sync client returns."""
    assert_type(mesh.get("k"), Awaitable[bytes | str | None])
    assert_type(await mesh.get("k"), bytes | str | None)
    assert_type(await mesh.mget("a", "b"), list[bytes | str | None])
    assert_type(await mesh.delete("a", "b"), int)
    assert_type(await mesh.execute_command("GET", "k"), Any)


async def pipelines(mesh: CacheMesh) -> None:
    assert_type(mesh.pipeline(), Pipeline)
    assert_type(await mesh.pipeline().execute(), list[Any])
    async with mesh.pipeline() as pipe:
        assert_type(pipe, Pipeline)


async def about_the_pool(mesh: CacheMesh) -> None:
    assert_type(await mesh.load(), Topology)
    assert_type(mesh.shard_for("k"), str)
    assert_type(mesh.master_of("cache-0"), Address | None)
    assert_type(await mesh.dbsize_per_shard(), dict[str, int])
    assert_type(mesh.health()["cache-0"], ShardHealth)
    assert_type(mesh.health().topology, TopologyHealth | None)
