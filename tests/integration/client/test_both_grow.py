"""A pool of one shard becomes one of two under clients of either kind, single connections too."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cachemesh.local import LocalStack, Process
from tests.support.both_clients import CLIENTS, calling
from tests.support.movable_pool import reset
from tests.support.plain_redis import direct
from tests.support.resizable_pool import ResizablePool
from tests.support.waiting import AT_MOST, until


@pytest.fixture(scope="module")
def renamed() -> Iterator[list[Process]]:
    """Two masters with commands that no client knows beforehand, as of a module."""
    with LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0) as stack:
        lines = [f"rename-command {name} MY.{name}" for name in ("APPEND", "BLPOP")]
        yield [stack.start_redis(None, *lines) for _ in range(2)]


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("single", [False, True])
def test_commands_with_several_keys_are_held_on_a_pool_of_one_shard(
    kind: str, single: bool, redises: list[Process], tmp_path: Path
) -> None:
    source, target = redises[:2]
    reset(source)
    reset(target)
    options = {"socket_timeout": AT_MOST, "single_connection_client": single}
    with (
        ResizablePool([source, target], tmp_path) as pool,
        calling(kind, pool.url, **options) as call,
        ThreadPoolExecutor(1) as threads,
        direct(source) as at_source,
        direct(target) as at_target,
    ):
        call(lambda mesh: mesh.ping())
        keys = [key for key in map(str, range(40)) if pool.large.shard_for(key) == "cache-1"][:3]
        pool.write(pool.small, pool.large)
        until(lambda: call.mesh._core.holds)
        held = threads.submit(call, lambda mesh: mesh.mset(dict.fromkeys(keys, "x")))
        assert at_source.exists(*keys) == 0 and not held.done()
        pool.write(pool.large)
        assert held.result(AT_MOST)
        assert at_source.exists(*keys) == 0
        assert at_target.exists(*keys) == 3


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("grown", [False, True])
def test_a_command_that_only_servers_know_goes_where_its_key_is(
    kind: str, grown: bool, renamed: list[Process], tmp_path: Path
) -> None:
    source, target = renamed
    reset(source)
    reset(target)
    with (
        ResizablePool([source, target], tmp_path) as pool,
        calling(kind, pool.url, socket_timeout=AT_MOST) as call,
        ThreadPoolExecutor(1) as threads,
        direct(source) as at_source,
        direct(target) as at_target,
    ):
        call(lambda mesh: mesh.ping())
        key = next(key for key in map(str, range(40)) if pool.large.shard_for(key) == "cache-1")
        pool.write(pool.large if grown else pool.small, None if grown else pool.large)
        until(lambda: call.mesh._core.holds or (grown and len(call.mesh._core.shards()) == 2))
        asked = threads.submit(call, lambda mesh: mesh.execute_command("my.append", key, "x"))
        if not grown:
            until(lambda: call.mesh._core.registry.knows(("MY.APPEND", key)) or asked.done())
            assert at_source.exists(key) == 0 and not asked.done()
            pool.write(pool.large)
        assert asked.result(AT_MOST) == 1
        assert at_source.exists(key) == 0
        assert at_target.get(key) == "x"


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_command_that_blocks_holds_up_no_others_by_another_name_either(
    kind: str, renamed: list[Process], tmp_path: Path
) -> None:
    for server in renamed:
        reset(server)
    with (
        ResizablePool(renamed, tmp_path) as pool,
        calling(kind, pool.url, socket_timeout=AT_MOST) as call,
        ThreadPoolExecutor(1) as threads,
    ):
        call(lambda mesh: mesh.ping())
        version = pool.write(pool.large)
        until(lambda: call.mesh._core.acts_on(version))
        popped = threads.submit(call, lambda mesh: mesh.execute_command("MY.BLPOP", "queue", 0))
        host, port = pool.masters[pool.large.shard_for("queue")]
        with direct(f"{host}:{port}") as server:
            until(lambda: server.info("clients")["blocked_clients"] == 1)
        assert call.driven.rpush("queue", "item") == 1
        assert popped.result(AT_MOST) == [b"queue", b"item"]
