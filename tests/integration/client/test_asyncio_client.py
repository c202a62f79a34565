"""The asyncio client on real shards and Sentinels."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest
import redis
import redis.asyncio

import cachemesh
from cachemesh.asyncio import CacheMesh
from cachemesh.core.names import parse_address
from cachemesh.local import LocalStack
from tests.support.sentinels import keep_masters
from tests.support.waiting import AT_MOST, until_async

T = TypeVar("T")


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(metaservers=0) as running:
        keep_masters(running)
        yield running


def run(stack: LocalStack, body: Callable[[Any], Awaitable[T]], **options: Any) -> T:
    """Run a test body in a loop of its own, with a client of an empty pool."""

    async def main() -> T:
        options.setdefault("decode_responses", True)
        async with CacheMesh.from_url(stack.info["url"], **options) as client:
            await client.flushall()
            return await body(client)

    return asyncio.run(main())


def test_it_is_a_redis_asyncio_client(stack: LocalStack) -> None:
    async def body(mesh: CacheMesh) -> None:
        assert isinstance(mesh, redis.asyncio.Redis)
        client: Any = mesh
        assert await client.ping() is True
        assert await client.set("a", 1) is True
        assert await client.get("a") == "1"
        keys = [f"k{i}" for i in range(100)]
        assert await client.mset({key: key for key in keys}) is True
        assert await client.mget([*keys, "none"]) == [*keys, None]
        assert await client.delete(*keys[:50]) == 50
        assert await client.dbsize() == 51
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            await client.lpush("a", 1)
        with pytest.raises(cachemesh.CrossShardError):
            await client.sinter("a", "b")
        with pytest.raises(cachemesh.InvalidKeyError):
            await client.get(None)
        async with client.lock("lock", timeout=5):
            pass
        script = client.register_script("return ARGV[1]")
        assert await script(keys=["x"], args=["y"]) == "y"
        task = asyncio.create_task(client.get("a"))
        assert await task == "1"

    run(stack, body)


@pytest.mark.parametrize("protocol", [2, 3])
def test_many_tasks_get_their_own_replies(stack: LocalStack, protocol: int) -> None:
    async def body(client: Any) -> int:
        async def work(me: int) -> int:
            wrong = 0
            for i in range(50):
                key = f"t{me}:{i % 7}"
                await client.set(key, key)
                wrong += await client.get(key) != key
            return wrong

        return sum(await asyncio.gather(*(work(i) for i in range(100))))

    assert run(stack, body, protocol=protocol) == 0


def test_cancelled_commands_never_leave_their_reply_to_another(stack: LocalStack) -> None:
    async def body(client: Any) -> tuple[int, int]:
        keys = [f"c{i}" for i in range(64)]
        await client.mset({key: key for key in keys})
        cancelled = wrong = 0
        dice = random.Random(7)

        async def one(key: str) -> Any:
            how = dice.random()
            if how < 0.6:
                return await client.get(key) == key
            if how < 0.8:
                return (await client.mget(key, *keys[:5]))[0] == key
            pipe = client.pipeline(transaction=how < 0.9)
            return (await pipe.get(key).execute())[0] == key

        for _ in range(60):
            tasks = [asyncio.create_task(one(dice.choice(keys))) for _ in range(100)]
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)
            for task in dice.sample(tasks, 50):
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                cancelled += isinstance(result, asyncio.CancelledError)
                wrong += result is False
                assert not isinstance(result, Exception), result
        return cancelled, wrong

    cancelled, wrong = run(stack, body)
    assert wrong == 0
    assert cancelled > 1000


def test_what_a_pipeline_makes_is_the_clients(stack: LocalStack) -> None:
    async def body(client: Any) -> None:
        keys = [f"k{i}" for i in range(20)]
        await client.mset({key: key for key in keys})
        async with client.pipeline() as pipe:
            await pipe.watch("k0")
            inner = pipe.pipeline()
            for key in keys:
                inner.get(key).set(key, "new")
            assert await inner.execute() == [value for key in keys for value in (key, True)]
            assert await client.mget(keys) == ["new"] * 20
            async with pipe.pubsub() as pubsub:
                await pubsub.subscribe(*keys)
                assert [await client.publish(key, "there?") for key in keys] == [1] * 20
            async with pipe.client() as single:
                assert await single.mget(keys) == ["new"] * 20
            with pytest.raises(cachemesh.UnsupportedCommandError, match="several"):
                pipe.monitor()

    run(stack, body)


def test_pipelines(stack: LocalStack) -> None:
    async def body(client: Any) -> None:
        for transaction in (None, False):
            pipe = client.pipeline(transaction=transaction)
            for i in range(30):
                pipe.set(f"k{i}", i)
            pipe.mget([f"k{i}" for i in range(30)])
            assert await pipe.execute() == [True] * 30 + [[str(i) for i in range(30)]]
        pipe.set("a", 1)
        pipe.lpush("a", 1)
        with pytest.raises(redis.ResponseError, match=r"Command # 2 .*WRONGTYPE"):
            await pipe.execute()
        pipe = client.pipeline(transaction=True)
        pipe.set("a", 1)
        pipe.set("b", 1)
        with pytest.raises(cachemesh.CrossShardError):
            await pipe.execute()
        async with client.pipeline() as pipe:
            await pipe.watch("a")
            await client.set("a", "other")
            pipe.multi()
            pipe.set("a", "mine")
            with pytest.raises(redis.WatchError):
                await pipe.execute()

    run(stack, body)


def test_blocking_commands_hold_up_nobody(stack: LocalStack) -> None:
    async def body(client: Any) -> None:
        blocked = asyncio.create_task(client.blpop(["queue"], timeout=0))
        for _ in range(100):
            await client.get("queue-not")
        assert not blocked.done()
        blocked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await blocked
        master = parse_address(stack.master_of(client.shard_for("queue")))
        with redis.Redis(*master) as server:
            while server.info("clients")["blocked_clients"]:
                await asyncio.sleep(0.02)  # the server has to hear of it
        await client.rpush("queue", "x")
        assert await client.blpop(["queue"], timeout=1) in (("queue", "x"), ["queue", "x"])
        assert await client.blpop(["queue"], timeout=1.2) is None

    run(stack, body, socket_timeout=1.0)


def test_pubsub(stack: LocalStack) -> None:
    async def body(client: Any) -> None:
        channels = ["a", "b", "c"]
        async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(*channels)
            await pubsub.psubscribe("x*")
            for channel in [*channels, "x1"]:
                assert await client.publish(channel, "hello") == 1
            got = [await pubsub.get_message(timeout=AT_MOST) for _ in range(4)]
            assert sorted(m["channel"] for m in got) == [*channels, "x1"]
            assert await pubsub.get_message(timeout=0.05) is None

    run(stack, body)


def test_a_client_serves_one_event_loop_after_the_other(stack: LocalStack) -> None:
    client: Any = CacheMesh.from_url(stack.info["url"], decode_responses=True)

    async def body(value: str) -> None:
        await client.set("loop", value)
        assert await client.get("loop") == value

    asyncio.run(body("one"))
    asyncio.run(body("two"))
    asyncio.run(client.aclose())


def test_a_subscription_goes_on_in_one_event_loop_after_the_other(stack: LocalStack) -> None:
    client: Any = CacheMesh.from_url(stack.info["url"], decode_responses=True)
    pubsub = client.pubsub(ignore_subscribe_messages=True)

    async def body(word: str) -> None:
        assert not await pubsub.get_message(timeout=0.05)  # it subscribes
        await client.publish("c", word)
        message = await pubsub.get_message(timeout=AT_MOST)
        assert message["data"] == word

    async def subscribe() -> None:
        await pubsub.subscribe("c")
        await body("one")

    async def close() -> None:
        await body("three")
        await pubsub.aclose()
        await client.aclose()

    asyncio.run(subscribe())
    asyncio.run(body("two"))
    asyncio.run(close())


def test_a_forked_child_makes_its_own_connections(stack: LocalStack) -> None:
    async def body(client: Any) -> None:
        await client.set("parent", "p")
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                # A child must not run in the parent's loop, so it makes one.
                asyncio.events._set_running_loop(None)
                asyncio.set_event_loop(None)
                code = asyncio.new_event_loop().run_until_complete(child(client))
            finally:
                os._exit(code)
        for i in range(300):
            await client.set("parent", f"p{i}")
            assert await client.get("parent") == f"p{i}"
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    async def child(client: Any) -> int:
        for i in range(200):
            await client.set("child", f"c{i}")
            if await client.get("child") != f"c{i}":
                return 2
        return 0

    run(stack, body)


def test_a_server_that_stalls_costs_a_timeout_and_no_more(stack: LocalStack) -> None:
    async def body(client: Any) -> None:
        shard = client.shard_for("stalled")
        other = next(f"k{i}" for i in range(99) if client.shard_for(f"k{i}") != shard)
        process = stack.process(stack.master_of(shard))
        process.pause()
        try:
            results = await asyncio.gather(
                client.set("stalled", 1), client.set(other, 2), return_exceptions=True
            )
        finally:
            process.resume()
        assert isinstance(results[0], cachemesh.ShardTimeoutError)
        assert isinstance(results[0], redis.TimeoutError)
        assert results[1] is True
        assert await client.set("stalled", 3) is True

    run(stack, body, socket_timeout=1.0)


def test_a_killed_master_is_replaced(stack: LocalStack) -> None:
    async def body(client: Any) -> None:
        keys = {client.shard_for(f"f{i}"): f"f{i}" for i in range(100)}
        process = stack.process(stack.master_of("cache-1"))
        keep_masters(stack, milliseconds=1000)
        process.kill(signal.SIGKILL)
        with pytest.raises(cachemesh.ShardUnavailableError, match="'cache-1' at"):
            await client.set(keys["cache-1"], "w")
        assert await client.get(keys["cache-0"]) is None

        async def is_set() -> bool:
            try:
                return bool(await client.set(keys["cache-1"], "new"))
            except cachemesh.ShardUnavailableError:
                return False

        await until_async(is_set)
        process.restart()
        keep_masters(stack)

    run(stack, body)


@pytest.mark.parametrize("read_from", ["master", "prefer_replica"])
def test_an_argument_without_a_form_is_the_apps_own_error(
    stack: LocalStack, read_from: str
) -> None:
    async def body() -> None:
        async with CacheMesh.from_url(stack.info["url"], read_from=read_from) as mesh:
            values: list[Any] = [None, True, object()]
            for bad in values:
                with pytest.raises(redis.DataError):
                    await mesh.set("k", bad)
                with pytest.raises(redis.DataError):
                    await mesh.hget("k", bad)

    asyncio.run(body())
