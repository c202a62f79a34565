"""A pool of one shard behaves as redis-py on one server does, sync and asyncio."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.typing
from redis.exceptions import NoPermissionError

import cachemesh
import cachemesh.asyncio
from cachemesh import CacheMesh
from cachemesh.local import LocalStack
from tests.support.one_shard import emptied, one_shard_stack, run
from tests.support.server_capabilities import has_command
from tests.support.waiting import until


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with one_shard_stack() as running:
        yield running


@pytest.fixture
def client(stack: LocalStack) -> Iterator[CacheMesh]:
    with emptied(stack) as mesh:
        yield mesh


def test_connections_are_given_out_as_by_a_redis_pool(client: CacheMesh) -> None:
    client.ping()
    pool = client.connection_pool
    connection: Any = pool.get_connection()  # untyped in redis-py
    connection.send_command("ECHO", "direct")
    assert connection.read_response() == b"direct"
    assert connection in pool._in_use_connections
    pool.release(connection)
    assert connection in pool._available_connections
    assert connection not in pool._in_use_connections


def test_disconnecting_the_pool_closes_every_connection(
    client: CacheMesh, stack: LocalStack
) -> None:
    client.client_setname("doomed")
    pipe: Any = client.pipeline(transaction=True)  # untyped in redis-py
    with pipe:
        pipe.watch("k")
    client.connection_pool.disconnect()
    with CacheMesh.from_url(stack.info["url"]) as other:
        until(lambda: all(c["name"] != "doomed" for c in other.client_list()))
    assert client.ping()


def test_monitor_shows_the_one_server(client: CacheMesh) -> None:
    with client.monitor() as monitor:
        client.set("seen", "1")
        until(lambda: "seen" in monitor.next_command()["command"])


def test_from_pool_says_what_to_use() -> None:
    with pytest.raises(cachemesh.ConfigurationError, match="from_url"):
        CacheMesh.from_pool(redis.ConnectionPool())


def test_a_copy_is_a_client_of_its_own(client: CacheMesh) -> None:
    client.set_response_callback("GET", lambda reply, **_: "changed")
    with copy.copy(client) as twin:
        assert twin.get("k") == "changed"
    assert client.get("k") == "changed"


def test_a_client_of_a_client_follows_the_pool(stack: LocalStack) -> None:
    with CacheMesh.from_url(stack.info["url"]) as parent:
        child = parent.client()
        child.set("k", "1")
    with child:
        assert child.get("k") == b"1"


def test_a_default_for_an_error_is_used_in_a_transaction(client: CacheMesh) -> None:
    with client.pipeline() as pipe:
        pipe.set("a", 1)
        pipe.mget([])
        pipe.set("c", 3)
        assert pipe.execute() == [True, [], True]
    with client.pipeline() as pipe:
        pipe.mget([])
        assert pipe.execute() == [[]]


def test_a_user_that_may_not_ask_for_the_role_is_served(
    client: CacheMesh, stack: LocalStack
) -> None:
    client.acl_setuser(
        "app", enabled=True, nopass=True, keys=["*"], categories=["+@all", "-@admin", "-@dangerous"]
    )
    try:
        for protocol in (2, 3):
            url, options = stack.info["url"], {"username": "app", "protocol": protocol}
            with CacheMesh.from_url(url, **options) as app:
                assert app.set("k", protocol)
                with pytest.raises(NoPermissionError):
                    app.role()
    finally:
        client.acl_deluser("app")


def test_asyncio_no_time_limit_outlives_the_call_it_is_for(stack: LocalStack) -> None:
    async def watch(mesh: cachemesh.asyncio.CacheMesh) -> None:
        for _ in range(20):
            pipe: Any = mesh.pipeline()  # untyped in redis-py
            async with pipe:
                await pipe.watch("k")
                pipe.multi()
                pipe.get("k")
                await pipe.execute()

    async def body(mesh: cachemesh.asyncio.CacheMesh) -> None:
        await asyncio.gather(*(watch(mesh) for _ in range(10)))
        connections: Any = mesh.connection_pool._available_connections
        assert {connection.deadline for connection in connections} == {math.inf}
        single = mesh.client()
        await single.ping()
        await asyncio.gather(*(single.ping() for _ in range(10)))
        assert single.connection.deadline == math.inf
        await single.aclose()

    run(stack, body)


def test_asyncio_watch_outlives_a_closed_idle_connection(stack: LocalStack) -> None:
    async def body(mesh: cachemesh.asyncio.CacheMesh) -> None:
        first: Any = mesh.pipeline()  # untyped in redis-py
        async with first:
            await first.watch("k")
            identity = await first.client_id()  # at once, over the watching connection
        await mesh.client_kill_filter(_id=str(identity))
        pipe: Any = mesh.pipeline()  # untyped in redis-py
        async with pipe:
            await pipe.watch("k")
            pipe.multi()
            pipe.set("k", 1)
            assert await pipe.execute() == [True]

    run(stack, body)


def test_asyncio_pool_and_monitor(stack: LocalStack) -> None:
    async def body(mesh: cachemesh.asyncio.CacheMesh) -> None:
        pool: Any = mesh.connection_pool
        connection = await pool.get_connection()
        await connection.send_command("ECHO", "direct")
        assert await connection.read_response() == b"direct"
        assert connection in pool._in_use_connections
        await pool.release(connection)
        async with mesh.monitor() as monitor:
            await mesh.set("seen", "1")
            while "seen" not in (await monitor.next_command())["command"]:
                pass
        async with mesh.pipeline() as pipe:
            pipe.set("a", 1)
            pipe.mget([])
            pipe.set("c", 3)
            assert await pipe.execute() == [True, [], True]
        async with mesh.pipeline() as wrong:
            wrong.lpush("a", 1)
            with pytest.raises(redis.ResponseError, match=r"\(LPUSH a 1\) .* error: WRONGTYPE"):
                await wrong.execute()
        await pool.disconnect()
        assert await mesh.ping()

    run(stack, body)


@pytest.mark.parametrize(
    ("encoding", "errors", "text", "stored"),
    [
        ("latin-1", "strict", "caf\u00e9", b"caf\xe9"),
        ("utf-8", "surrogateescape", "\udcff", b"\xff"),
    ],
)
def test_text_is_encoded_as_asked_for(
    client: CacheMesh, stack: LocalStack, encoding: str, errors: str, text: str, stored: bytes
) -> None:
    options = {"encoding": encoding, "encoding_errors": errors, "decode_responses": True}
    with CacheMesh.from_url(stack.info["url"], **options) as mesh:
        mesh.set(text, text)
        assert client.get(stored) == stored
        assert mesh.get(text) == text
        pipe: Any = mesh.pipeline()  # its commands have the types of replies in redis-py
        assert pipe.append(text, text).get(text).execute()[1] == text * 2
        with mesh.client() as single:
            assert single.get(text) == text * 2

    async def body(_: cachemesh.asyncio.CacheMesh) -> None:
        other = cachemesh.asyncio.CacheMesh.from_url(stack.info["url"], **options)
        await other.set(text, text)
        pipe: Any = other.pipeline()  # untyped in redis-py
        assert await pipe.append(text, text).get(text).execute() == [len(stored) * 2, text * 2]
        await other.aclose()

    run(stack, body)


def test_an_encoding_python_does_not_know_is_refused(stack: LocalStack) -> None:
    with pytest.raises(cachemesh.ConfigurationError, match="nonsense"):
        CacheMesh.from_url(stack.info["url"], encoding="nonsense")


def test_an_encoding_that_is_no_ascii_concerns_arguments_only(
    client: CacheMesh, stack: LocalStack
) -> None:
    with CacheMesh.from_url(stack.info["url"], encoding="utf-16-le") as mesh:
        pipe: Any = mesh.pipeline()  # its commands have the types of replies in redis-py
        assert mesh.set("a", "a") and pipe.get("a").execute() == [b"a\x00"]
    assert client.get(b"a\x00") == b"a\x00"


def test_commands_that_end_or_change_a_connection_concern_no_other(
    client: CacheMesh, stack: LocalStack
) -> None:
    client.set("k", "1")
    for call in (client.quit, client.reset, lambda: client.execute_command("HELLO", 2)):
        assert call()
        assert client.set("k", "1") and client.get("k") == b"1"

    async def body(_: cachemesh.asyncio.CacheMesh) -> None:
        url, options = stack.info["url"], {"socket_timeout": 2.0}
        mesh = cachemesh.asyncio.CacheMesh.from_url(url, **options)
        for call in ("QUIT", "RESET", "HELLO 2", "CLIENT REPLY SKIP", "CLIENT REPLY OFF"):
            odd, *echoes = await asyncio.gather(
                mesh.execute_command(*call.split()),
                *(mesh.echo(str(n)) for n in range(20)),
                return_exceptions=True,
            )
            assert echoes == [b"%d" % n for n in range(20)]
            if "REPLY" in call:
                assert isinstance(odd, redis.TimeoutError)
            assert await mesh.echo("after") == b"after"
        await mesh.aclose()

    run(stack, body)


def test_pubsub_takes_all_that_redis_py_takes(client: CacheMesh) -> None:
    heard: list[Any] = []
    with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(["a", "b"], c=heard.append)
        sharded = has_command(client, "SSUBSCRIBE")
        if sharded:
            pubsub.ssubscribe("s")
        if hasattr(redis.typing, "Subscription"):
            pubsub.subscribe(redis.typing.Subscription(b"\xff", heard.append))
            client.publish(b"\xff", "0")
            until(lambda: pubsub.get_message(timeout=0.1) or heard)
            assert heard.pop()["data"] == b"0"
            pubsub.unsubscribe(b"\xff")
        assert set(pubsub.channels) == {b"a", b"b", b"c"}
        assert set(pubsub.shard_channels) == ({b"s"} if sharded else set())
        assert pubsub.ping("there?")
        pong = until(lambda: pubsub.get_message(timeout=1))
        assert (pong["type"], pong["data"]) == ("pong", b"there?")
        client.publish("b", "1")
        assert until(lambda: pubsub.get_sharded_message(timeout=1))["channel"] == b"b"
        client.publish("c", "2")
        until(lambda: pubsub.get_message(timeout=0.1) or heard)
        assert heard[0]["data"] == b"2"
        pubsub.connection.disconnect()
        client.publish("a", "lost")
        pubsub.get_message(timeout=0.1)
        client.publish("a", "3")
        assert until(lambda: pubsub.get_message(timeout=0.1))["data"] == b"3"
        pubsub.unsubscribe(["a", "b"])
        assert set(pubsub.channels) == {b"c"}
    with pytest.raises(cachemesh.ConfigurationError, match="subscribe"):
        client.pubsub(push_handler_func=heard.append)


def test_asyncio_pubsub_takes_all_that_redis_py_takes(stack: LocalStack) -> None:
    async def body(mesh: cachemesh.asyncio.CacheMesh) -> None:
        async with mesh.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(["a", "b"])
            if not hasattr(redis.asyncio.client.PubSub, "ssubscribe"):
                with pytest.raises(cachemesh.UnsupportedCommandError, match="redis-py 8"):
                    await pubsub.ssubscribe("s")
            elif "ssubscribe" in await mesh.command():
                await pubsub.ssubscribe("s")
                assert set(pubsub.shard_channels) == {b"s"}
            assert pubsub.connection is not None
            assert await pubsub.ping()
            while (message := await pubsub.get_message(timeout=1)) is None:
                pass
            assert message["type"] == "pong"
            await mesh.publish("b", "1")
            while (message := await pubsub.get_message(timeout=1)) is None:
                pass
            assert message["channel"] == b"b"

    run(stack, body)
