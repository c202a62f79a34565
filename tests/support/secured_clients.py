"""Clients of servers that ask for TLS or a login, and a use of each command path of theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from tests.support.waiting import AT_MOST

BIG = "x" * 3_000_000


def connect(url: str, **options: Any) -> Any:
    """Return a client, untyped as many of redis-py's methods are."""
    return CacheMesh.from_url(url, **options)


def run(body: Callable[[Any], Any], url: str, **options: Any) -> Any:
    """Run a body with an asyncio client in a loop of its own; return what the body returns."""

    async def main() -> Any:
        async with AsyncCacheMesh.from_url(url, **options) as mesh:
            return await body(mesh)

    return asyncio.run(main())


def use(mesh: Any) -> None:
    """Check split commands, pipelines, a blocking command and a subscription of a sync client."""
    keys = [f"k{i}" for i in range(20)]
    assert mesh.mset({key: BIG if key == "k7" else key for key in keys}) is True
    assert mesh.mget(keys) == [BIG if key == "k7" else key for key in keys]
    assert mesh.pipeline().get("k7").get("k1").get("k7").execute() == [BIG, "k1", BIG]
    assert mesh.pipeline(transaction=True).get("k7").execute() == [BIG]
    assert mesh.blpop(["nothing"], timeout=0.01) is None
    with mesh.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe("app:news")
        for message in (BIG, "small", "small too"):
            assert mesh.publish("app:news", message) == 1
        assert [pubsub.get_message(timeout=AT_MOST)["data"] for _ in range(3)] == [
            *(BIG, "small", "small too")
        ]
    assert mesh.unlink(*keys) == 20


async def use_async(mesh: Any) -> None:
    """Check the same of an asyncio client."""
    keys = [f"k{i}" for i in range(20)]
    assert await mesh.mset({key: BIG if key == "k7" else key for key in keys}) is True
    assert await mesh.mget(keys) == [BIG if key == "k7" else key for key in keys]
    got = await asyncio.gather(*(mesh.get(keys[i % 20]) for i in range(200)))
    assert got == [BIG if i % 20 == 7 else keys[i % 20] for i in range(200)]
    assert await mesh.pipeline().get("k7").get("k1").get("k7").execute() == [BIG, "k1", BIG]
    assert await mesh.pipeline(transaction=True).get("k7").execute() == [BIG]
    assert await mesh.blpop(["nothing"], timeout=0.01) is None
    async with mesh.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe("app:news")
        for message in (BIG, "small"):
            assert await mesh.publish("app:news", message) == 1
        assert [(await pubsub.get_message(timeout=AT_MOST))["data"] for _ in range(2)] == [
            BIG,
            "small",
        ]
    assert await mesh.unlink(*keys) == 20
