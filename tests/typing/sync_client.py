"""Types that users of the sync client see under mypy --strict; mypy checks, nothing runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import redis
from typing_extensions import assert_type

import cachemesh
from cachemesh import CacheMesh
from cachemesh.core.names import Address
from cachemesh.core.placement import Placement
from cachemesh.core.pool.topology import Topology
from cachemesh.core.pool.topology_health import TopologyHealth
from cachemesh.core.resilience.circuit_breaker import ShardHealth
from cachemesh.sync.pipeline import Pipeline


def construction() -> None:
    assert_type(CacheMesh("cachemesh://localhost/cache"), CacheMesh)
    assert_type(CacheMesh.from_url("cachemesh://localhost/cache", decode_responses=True), CacheMesh)
    assert_type(CacheMesh.from_env(), CacheMesh)
    assert_type(CacheMesh.from_env({"CACHEMESH_URL": "cachemesh://localhost/cache"}), CacheMesh)
    with CacheMesh.from_url("cachemesh://localhost/cache") as mesh:
        assert_type(mesh, CacheMesh)


def is_a_redis_client(mesh: CacheMesh) -> redis.Redis:
    return mesh


class AppCache(CacheMesh):
    """A subclass of an app."""


def subclasses_keep_their_type(mesh: AppCache) -> None:
    assert_type(AppCache.from_url("cachemesh://localhost/cache"), AppCache)
    assert_type(AppCache.from_env(), AppCache)
    assert_type(mesh.with_options(on_error="miss"), AppCache)
    assert_type(mesh.client(), AppCache)
    with mesh as entered:
        assert_type(entered, AppCache)


def commands(mesh: CacheMesh) -> None:
    """The commands have redis-py's own types."""
    assert_type(mesh.get("k"), bytes | str | None)
    assert_type(mesh.mget("a", "b"), list[bytes | str | None])
    assert_type(mesh.delete("a", "b"), int)
    assert_type(mesh.incr("k"), int)
    assert_type(mesh.hgetall("h"), dict[bytes | str, bytes | str])
    assert_type(mesh.scan_iter(), Iterator[Any])
    assert_type(mesh.execute_command("GET", "k"), Any)


def pipelines(mesh: CacheMesh) -> None:
    assert_type(mesh.pipeline(), Pipeline)
    assert_type(mesh.pipeline(transaction=True), Pipeline)
    assert_type(mesh.pipeline().execute(), list[Any])


def about_the_pool(mesh: CacheMesh) -> None:
    assert_type(mesh.topology, Topology)
    assert_type(mesh.topology.masters, Mapping[str, Address])
    assert_type(mesh.topology.document.placement, Placement)
    assert_type(mesh.shard_for("k"), str)
    assert_type(mesh.shard_for(b"k"), str)
    assert_type(mesh.master_of("cache-0"), Address | None)
    assert_type(mesh.dbsize_per_shard(), dict[str, int])
    assert_type(mesh.health()["cache-0"], ShardHealth)
    assert_type(mesh.health().topology, TopologyHealth | None)
    assert_type(mesh.health()["cache-0"].breaker, str)
    assert_type(mesh.health()["cache-0"].master, Address | None)


def errors_of_a_shard(error: cachemesh.ShardUnavailableError) -> redis.ConnectionError:
    """What catches redis-py's errors catches these."""
    return error


def timeouts_of_a_shard(error: cachemesh.ShardTimeoutError) -> redis.TimeoutError:
    return error


def every_error(error: cachemesh.CrossShardError) -> cachemesh.CacheMeshError:
    return error
