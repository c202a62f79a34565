"""The names of connections: servers see whose they are, and the app sees its own part alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from cachemesh.core.connection_names import full_name, own_name
from cachemesh.core.names import parse_address
from cachemesh.local import LocalStack
from tests.support.both_clients import CLIENTS, Caller
from tests.support.waiting import until


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=1, replicas=1, sentinels=1, dashboard=False) as running:
        yield running


@pytest.fixture(params=CLIENTS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def client(stack: LocalStack, kind: str, **options: Any) -> Caller:
    return Caller(kind, stack.info["url"], token=stack.token, **options)


def connections(address: str, name: str) -> set[str]:
    """Return the last commands of the connections with a name."""
    where = parse_address(address)
    with redis.Redis(where.host, where.port) as direct:
        return {each["cmd"] for each in direct.client_list() if each["name"] == name}


def test_every_connection_carries_the_name(stack: LocalStack, kind: str) -> None:
    call = client(stack, kind, client_name="shop", read_from="prefer_replica")
    (shard,) = stack.info["shards"]
    assert call(lambda mesh: mesh.set("k", "v"))
    assert call(lambda mesh: mesh.get("k")) == b"v"
    name = f"cachemesh:{call.mesh._core.client_id()}:shop"
    subscription = call.drive(call.mesh.pubsub())
    subscription.subscribe("news")
    pipeline = call.drive(call.mesh.pipeline())
    pipeline.watch("k")
    waiting = threading.Thread(target=call, args=(lambda mesh: mesh.blpop("queue", 60),))
    waiting.start()
    wanted = {"blpop", "subscribe", "watch"}
    until(lambda: wanted <= connections(shard["master"], name))
    call(lambda mesh: mesh.rpush("queue", "x"))
    waiting.join()
    until(lambda: connections(shard["replicas"][0], name))
    pipeline.reset()
    subscription.close()
    call.close()


def test_the_app_sees_its_own_part_alone(stack: LocalStack, kind: str) -> None:
    call = client(stack, kind)
    single = call(lambda mesh: mesh.client())
    for mesh in (call.mesh, single):
        assert call.on(mesh, lambda mesh: mesh.client_getname()) is None
        assert call.on(mesh, lambda mesh: mesh.client_setname("mine"))
    assert call.on(single, lambda mesh: mesh.client_getname()) == "mine"
    assert call.on(single, lambda mesh: mesh.client_info())["name"] == "mine"
    listed = call.on(single, lambda mesh: mesh.client_list())
    assert "mine" in [each["name"] for each in listed]
    identity = call.mesh._core.client_id()
    assert connections(stack.info["shards"][0]["master"], f"cachemesh:{identity}:mine")
    call.on(single, lambda mesh: mesh.execute_command("CLIENT", "SETNAME", "other"))
    pipeline = call.drive(call.mesh.pipeline(transaction=False))
    pipeline.client_setname("piped").client_getname()
    assert pipeline.execute() == [True, "piped"]
    call.on(single, lambda mesh: mesh.aclose() if kind == "asyncio" else mesh.close())
    call.close()


def test_an_app_that_connects_by_itself_and_a_user_without_the_right(
    stack: LocalStack, kind: str
) -> None:
    async def hook_of_tasks(connection: Any) -> None:
        await connection.on_connect()
        await connection.send_command("CLIENT", "SETNAME", "hooked")
        await connection.read_response()

    def hook(connection: Any) -> None:
        connection.on_connect()
        connection.send_command("CLIENT", "SETNAME", "hooked")
        connection.read_response()

    master = stack.info["shards"][0]["master"]
    chosen = hook_of_tasks if kind == "asyncio" else hook
    call = client(stack, kind, redis_connect_func=chosen)
    assert call(lambda mesh: mesh.set("k", "v"))
    assert connections(master, f"cachemesh:{call.mesh._core.client_id()}:hooked")
    call.close()
    where = parse_address(master)
    with redis.Redis(where.host, where.port) as direct:
        direct.acl_setuser(
            "limited", True, passwords=["+secret"], categories=["+@all"], keys=["*"],
            commands=["-client|setname"],
        )  # fmt: skip
        call = client(stack, kind, username="limited", password="secret")
        assert call(lambda mesh: mesh.set("k", "v"))
        call.close()
        direct.acl_deluser("limited")


@pytest.mark.parametrize("own", ["shop", b"shop", "", None, "cachemesh:other"])
def test_names_are_taken_apart_again(own: Any) -> None:
    name = full_name("0123456789ab", own)
    assert name.startswith("cachemesh:0123456789ab")
    assert full_name("0123456789ab", name) == name
    text = own.decode() if isinstance(own, bytes) else own
    assert own_name("0123456789ab", name) == (text or "")
    assert own_name("ba9876543210", name) == name
    assert own_name(None, name) == name
