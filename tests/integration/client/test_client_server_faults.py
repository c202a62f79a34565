"""Clients whose servers are killed, full, restarted, stalled, or cannot be found."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

import cachemesh
from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.local import LocalStack
from tests.support.plain_redis import direct
from tests.support.stack_clients import connect, connect_async, key_on, masters
from tests.support.waiting import in_time, until, until_async


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=0, sentinels=1, dashboard=False) as running:
        yield running


def kill_all_connections(stack: LocalStack) -> None:
    for address in masters(stack):
        with direct(address) as server:
            server.client_kill_filter(_type="normal", skipme=True)


def eventually(operation: Callable[[], Any]) -> None:
    """Wait until an operation succeeds: a probe closes the breaker of a server that is back."""

    def served() -> bool:
        try:
            assert operation() is True
        except cachemesh.ShardUnavailableError:
            return False
        return True

    until(served)


OPERATIONS: list[Callable[[Any], Any]] = [
    lambda mesh: mesh.set("a", 1),
    lambda mesh: mesh.get("a"),
    lambda mesh: mesh.mset({"a": 1, "b": 2, "c": 3}),
    lambda mesh: mesh.mget("a", "b", "c"),
    lambda mesh: mesh.pipeline().set("a", 1).set("b", 1).execute(),
    lambda mesh: mesh.pipeline(transaction=True).set("a", 1).execute(),
    lambda mesh: mesh.blpop(["nothing"], timeout=0.01),
]


def test_waiting_for_a_pool_that_is_not_there_costs_all_the_same_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stalled:
        url = f"cachemesh+sentinel://127.0.0.1:{stalled.getsockname()[1]}/cache?socket_timeout=1"

        async def main() -> set[type]:
            async with AsyncCacheMesh.from_url(url) as client:
                mesh: Any = client
                return {
                    type(error)
                    for error in await asyncio.gather(
                        *(mesh.get(f"k{i}") for i in range(500)), return_exceptions=True
                    )
                }

        started = time.monotonic()
        assert asyncio.run(main()) == {cachemesh.SentinelUnavailableError}
        in_time(time.monotonic() - started, 1.0)

        errors: list[type] = []

        def work() -> None:
            try:
                mesh.get("a")
            except redis.RedisError as error:
                errors.append(type(error))

        with CacheMesh.from_url(url) as mesh:
            threads = [threading.Thread(target=work) for _ in range(16)]
            started = time.monotonic()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert errors == [cachemesh.SentinelUnavailableError] * 16
        in_time(time.monotonic() - started, 1.0)


@pytest.mark.usefixtures("nothing_left")
def test_timeouts_and_cancellation_while_connecting(stack: LocalStack) -> None:
    process = stack.process(masters(stack)[0])

    async def main() -> None:
        async with connect_async(stack, socket_timeout=60.0) as mesh:
            await mesh.load()
            key, other = key_on(mesh, "cache-0"), key_on(mesh, "cache-1")
            process.pause()
            try:
                tasks = [asyncio.create_task(mesh.get(key)) for _ in range(20)]
                await asyncio.sleep(0.05)
                for task in tasks[:19]:
                    task.cancel()
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(mesh.set(key, "no"), 0.1)
                assert await mesh.set(other, "1") is True
            finally:
                process.resume()
            assert await tasks[19] is None or await mesh.get(key)
            assert all(isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(
                *tasks[:19], return_exceptions=True
            ))  # fmt: skip
            assert await mesh.set(key, "yes") is True
            assert await mesh.get(key) == b"yes"

    asyncio.run(main())


def test_a_stalled_server_and_big_values_stay_within_memory(stack: LocalStack) -> None:
    processes = [stack.process(address) for address in masters(stack)]
    value = b"x" * 102_400

    async def main() -> tuple[int, float, set[type]]:
        async with connect_async(stack, socket_timeout=1.0) as mesh:
            await mesh.mget([f"k{i}" for i in range(20)])
            for process in processes:
                process.pause()
            tracemalloc.start()
            try:
                started = time.monotonic()
                got = await asyncio.gather(
                    *(mesh.set(f"k{i}", value) for i in range(1000)), return_exceptions=True
                )
                took, peak = time.monotonic() - started, tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
                for process in processes:
                    process.resume()
            hopeful = mesh.with_options(on_error="miss")
            await until_async(lambda: hopeful.set("k1", "1"))  # a probe closes the breaker
            return peak, took, {type(error) for error in got}

    peak, took, kinds = asyncio.run(main())
    # The last to begin may find the breaker open.
    assert kinds <= {cachemesh.ShardTimeoutError, cachemesh.ShardUnavailableError}
    assert cachemesh.ShardTimeoutError in kinds
    assert peak < 25_000_000, "of 100 MB that wait to be sent"
    in_time(took, 2.0)  # one after the other they would take 1000 s


@pytest.mark.usefixtures("nothing_left")
def test_connections_killed_between_commands_fail_nothing(stack: LocalStack) -> None:
    with connect(stack) as mesh:
        for operation in OPERATIONS:
            operation(mesh)
            kill_all_connections(stack)
            operation(mesh)

    async def main() -> None:
        async with connect_async(stack) as mesh:
            for operation in OPERATIONS:
                await operation(mesh)
                kill_all_connections(stack)
                await asyncio.sleep(0.02)  # the loop has to hear of it
                await operation(mesh)

    asyncio.run(main())


def test_restarted_servers_fail_no_write_even_without_sentinels(stack: LocalStack) -> None:
    sentinel = stack.process(stack.info["sentinels"][0])
    with connect(stack) as mesh:
        mesh.mset({"a": 1, "b": 2, "c": 3})
        sentinel.pause()
        try:
            for address in masters(stack):
                stack.process(address).restart()
            assert mesh.mset({"a": 1, "b": 2, "c": 3}) is True
            for address in masters(stack):
                stack.process(address).restart()
            assert mesh.get("a") is None
            assert mesh.mget("a", "b", "c") == [None] * 3
        finally:
            sentinel.resume()


def test_one_dead_shard_in_a_write_of_many_keys_is_named(stack: LocalStack) -> None:
    process = stack.process(masters(stack)[0])
    with connect(stack) as mesh:
        dead, alive = key_on(mesh, "cache-0"), key_on(mesh, "cache-1")
        process.kill()
        try:
            with pytest.raises(cachemesh.ShardUnavailableError, match=r"^Shard 'cache-0' at "):
                mesh.mset({dead: "1", alive: "written"})
            assert mesh.get(alive) == b"written", "the part of a living shard has run"
        finally:
            process.restart()
        eventually(lambda: mesh.mset({dead: "1", alive: "1"}))


def test_a_server_that_takes_no_more_clients_says_so(stack: LocalStack) -> None:
    with connect(stack) as mesh, direct(masters(stack)[0]) as server:
        key = key_on(mesh, "cache-0")

        async def ask() -> None:
            async with connect_async(stack) as client:
                await client.get(key)

        most = server.config_get("maxclients")["maxclients"]
        server.config_set("maxclients", 1)
        try:
            for call in (lambda: mesh.get(key), lambda: asyncio.run(ask())):
                with pytest.raises(
                    cachemesh.ShardUnavailableError, match=r"max number of clients|Connection lost"
                ):
                    call()
        finally:
            server.config_set("maxclients", most)
        eventually(lambda: mesh.set(key, "v"))
