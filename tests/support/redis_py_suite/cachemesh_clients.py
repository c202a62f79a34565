"""A pytest plugin for redis-py's own tests: their clients are CacheMesh on a pool of one shard.

`scripts/redis-py-suite` names it with -p. It stands in a directory of its own, which the script
puts on the path: those tests are a package `tests` too, so this one cannot be imported there.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import redis
import redis.asyncio

import cachemesh
import cachemesh.asyncio
from cachemesh.local import LocalStack

_STACK = LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0, dashboard=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take what the sync tests' clients are; those of asyncio are both, as in redis-py."""
    parser.addoption(
        "--clients",
        choices=("single", "pool", "plain"),
        default="pool",
        help="single: one connection each, as client() makes them; plain: redis-py's clients",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Start the pool, and replace what makes clients before pytest looks at the fixtures."""
    _STACK.start()
    config.option.redis_url = f"redis://{_STACK.master_of('cache-0')}/0"
    if config.getoption("--clients") == "plain":
        return
    _replace("tests.conftest", "_get_client", _client_maker)
    _replace("tests.test_asyncio.conftest", "create_redis", lambda original: create_redis)


def pytest_unconfigure() -> None:
    """Stop the pool."""
    _STACK.stop()


def _replace(module: str, name: str, replacement: Callable[[Any], Any]) -> None:
    """Replace a name of a conftest module, if that one is part of this run."""
    if module in sys.modules:
        setattr(sys.modules[module], name, replacement(getattr(sys.modules[module], name)))


def _client_maker(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return the suite's `_get_client`, with CacheMesh where it makes a plain `redis.Redis`."""

    def get_client(
        cls: type,
        request: Any,
        single_connection_client: bool = True,
        flushdb: bool = True,
        from_url: str | None = None,
        **options: Any,
    ) -> Any:
        if cls is not redis.Redis or from_url is not None or options.get("ssl"):
            return original(
                cls, request, single_connection_client, flushdb, from_url=from_url, **options
            )
        mesh = cachemesh.CacheMesh.from_url(_STACK.info["url"], **options)
        single = single_connection_client and request.config.getoption("--clients") == "single"
        client = mesh.client() if single else mesh

        def tear_down() -> None:
            if flushdb:
                with suppress(redis.ConnectionError):  # a test may have cut the connection
                    client.flushdb()
                mesh.flushdb()
            client.close()
            mesh.close()

        request.addfinalizer(tear_down)
        return client

    return get_client


@pytest.fixture(params=[True, False], ids=["single", "pool"])
async def create_redis(
    request: pytest.FixtureRequest,
) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Return a function that makes asyncio clients; they are closed after the test."""
    closing: list[Callable[[], Awaitable[None]]] = []

    async def create(
        url: str | None = None,
        cls: type = redis.asyncio.Redis,
        flushdb: bool = True,
        **options: Any,
    ) -> Any:
        single = options.pop("single_connection_client", False) or request.param
        mesh: Any
        if url is None and cls is redis.asyncio.Redis:
            mesh = cachemesh.asyncio.CacheMesh.from_url(_STACK.info["url"], **options)
        else:
            mesh = redis.asyncio.Redis.from_url(url or request.config.option.redis_url, **options)
        client = await mesh.client().initialize() if single else mesh

        async def tear_down() -> None:
            if flushdb and "username" not in options:
                with suppress(redis.ConnectionError):  # a test may have cut the connection
                    await client.flushdb()
                await mesh.flushdb()
            await client.aclose()
            await mesh.aclose()

        closing.append(tear_down)
        return client

    yield create
    for tear_down in closing:
        await tear_down()
