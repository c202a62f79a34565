"""A client of a metaserver follows resizes and settings, and reports that it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import cachemesh
import cachemesh.asyncio
from cachemesh import CacheMesh
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from tests.support.sentinels import keep_masters, routes_by
from tests.support.waiting import AT_MOST, until


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, spares=1, dashboard=False) as running:
        keep_masters(running)
        yield running


@pytest.fixture
def api(stack: LocalStack) -> MetaserverClient:
    return MetaserverClient(stack.info["metaservers"], stack.token)


def test_sentinel_alone_reads_what_a_metaserver_client_wrote(stack: LocalStack) -> None:
    sentinels = ",".join(stack.info["sentinels"])
    with (
        CacheMesh.from_url(stack.info["url"], token=stack.token) as one,
        CacheMesh.from_url(f"cachemesh+sentinel://{sentinels}/cache") as other,
    ):
        keys = {f"k{i}": str(i).encode() for i in range(200)}
        one.mset(keys)
        assert other.mget(list(keys)) == list(keys.values())
        assert {k: other.shard_for(k) for k in keys} == {k: one.shard_for(k) for k in keys}


def test_a_running_client_follows_a_resize(stack: LocalStack, api: MetaserverClient) -> None:
    spare = stack.info["spares"][0]["master"]
    with CacheMesh.from_url(stack.info["url"], token=stack.token) as mesh:
        keys = [f"r{i}" for i in range(300)]
        mesh.mset(dict.fromkeys(keys, "v"))
        before = {key: mesh.shard_for(key) for key in keys}
        body = {"name": "late", "master": spare, "strategy": "drop"}
        change = api.request("POST", "/v1/pools/cache/shards", body)
        until(lambda: routes_by(mesh, change["version_after"]))
        moved = [key for key in keys if mesh.shard_for(key) == "late"]
        assert 50 < len(moved) < 150
        assert all(mesh.shard_for(key) == before[key] for key in keys if key not in moved)
        assert mesh.mget(moved) == [None] * len(moved), "cold, not stale"
        stayed = [key for key in keys if key not in moved]
        assert mesh.mget(stayed) == [b"v"] * len(stayed)
        mesh.mset(dict.fromkeys(moved, "new"))

        def swept() -> bool:
            status = api.request("GET", "/v1/pools/cache/status")
            return status["version"] == change["version_after"] and not status["sweeps"]

        until(swept)
        query = {"strategy": "drop"}
        change = api.request("DELETE", "/v1/pools/cache/shards/late", query=query)
        # A resize that waits for a busy client steps back, so that versions tell nothing.
        until(lambda: "late" not in mesh.route_table().shards)
        assert mesh.mget(moved) == [None] * len(moved), "never what was there before"


def test_settings_reach_a_running_client(stack: LocalStack, api: MetaserverClient) -> None:
    with CacheMesh.from_url(stack.info["url"], token=stack.token) as mesh:
        mesh.ping()
        api.request("PATCH", "/v1/pools/cache/settings", {"settings": {"command_timeout": 0.2}})
        until(lambda: mesh.topology.document.settings.get("command_timeout") == 0.2)
        process = stack.process(stack.master_of("cache-0"))
        process.pause()
        try:
            key = next(f"s{i}" for i in range(99) if mesh.shard_for(f"s{i}") == "cache-0")
            with pytest.raises(cachemesh.ShardTimeoutError):
                mesh.set(key, 1)
        finally:
            process.resume()
        api.request("PATCH", "/v1/pools/cache/settings", {"settings": {"command_timeout": None}})


def test_connections_from_before_a_change_are_given_back(
    stack: LocalStack, api: MetaserverClient
) -> None:
    def timeout_is(value: float | None) -> None:
        api.request("PATCH", "/v1/pools/cache/settings", {"settings": {"command_timeout": value}})

    async def body() -> None:
        mesh = cachemesh.asyncio.CacheMesh.from_url(stack.info["url"], token=stack.token)
        async with mesh, mesh.pubsub() as pubsub, mesh.pipeline() as one:
            await one.watch("{s}one")
            await pubsub.subscribe("{s}channel")
            former: Any = one.connection
            timeout_is(2.5)
            while (await mesh.load()).document.settings.get("command_timeout") != 2.5:
                await asyncio.sleep(0.02)
            async with mesh.pipeline() as other:
                await other.watch("{s}other")
            await one.reset()
            assert not former.is_connected, "it would wait as long as before the change"

    try:
        asyncio.run(asyncio.wait_for(body(), AT_MOST))
    finally:
        timeout_is(None)


def test_a_client_is_listed_until_it_says_goodbye(stack: LocalStack, api: MetaserverClient) -> None:
    def clients() -> list[Any]:
        reply = api.request("GET", "/v1/pools/cache/clients")
        return list(reply["clients"])

    until(lambda: not clients())
    mesh = CacheMesh.from_url(stack.info["url"], token=stack.token)
    mesh.ping()
    (listed,) = until(clients)
    assert listed["version"] == mesh.topology.document.version
    mesh.close()
    assert clients() == []


def test_the_control_plane_may_go_away(stack: LocalStack) -> None:
    with CacheMesh.from_url(stack.info["url"], token=stack.token) as mesh:
        mesh.set("k", "v")
        metaserver = stack.process(stack.info["metaservers"][0])
        metaserver.kill()
        assert all(mesh.get("k") == b"v" for _ in range(100))
        metaserver.restart()


def test_unknown_pools_and_tokens_say_so(stack: LocalStack) -> None:
    url = stack.info["url"]
    nope = CacheMesh.from_url(url.replace("/cache", "/nope"), token=stack.token)
    with nope as mesh, pytest.raises(cachemesh.PoolNotFoundError, match="No pool 'nope'"):
        mesh.get("a")
    with CacheMesh.from_url(url, token="wrong") as mesh:
        with pytest.raises(cachemesh.MetaserverError, match="token") as caught:
            mesh.get("a")
        assert caught.value.status == 401
        assert "wrong" not in str(caught.value)
