"""Clients that keep to one connection, as `client()` makes them, on a pool of one shard."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
import redis

import cachemesh
import cachemesh.asyncio
from cachemesh import CacheMesh
from cachemesh.core.names import parse_address
from cachemesh.local import LocalStack
from tests.support.one_shard import emptied, one_shard_stack, run
from tests.support.sentinels import keep_masters
from tests.support.waiting import until


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with one_shard_stack() as running:
        yield running


@pytest.fixture
def client(stack: LocalStack) -> Iterator[CacheMesh]:
    with emptied(stack) as mesh:
        yield mesh


def test_client_keeps_to_one_connection(client: CacheMesh) -> None:
    with client.client() as single:
        assert single.client_setname("mine")
        identity = single.client_id()
        ids = {single.client_id() for _ in range(20)}
        assert single.set("k", 1) and single.get("k") == b"1"
        assert ids == {identity}
        assert single.client_getname() == "mine"
        assert single.connection is not None
    assert client.get("k") == b"1"  # closing it leaves this one open
    assert client.client_getname() is None


def test_the_connection_can_be_patched_as_redis_pys(client: CacheMesh) -> None:
    """Tests of apps do so: `patch.object` deletes the attribute, and sets it again if need be."""
    single = client.client()
    kept = single.connection
    for mesh, connection in ((single, kept), (client, None)):
        with patch.object(mesh, "connection", object()) as other:
            assert mesh.connection is other
        assert mesh.connection is connection
    single.close()


def test_single_connection_client_is_an_option(stack: LocalStack) -> None:
    with CacheMesh.from_url(stack.info["url"], single_connection_client=True) as single:
        assert single.connection is not None
        assert single.ping()


def test_a_lost_single_connection_is_made_anew(client: CacheMesh) -> None:
    with client.client() as single:
        identity = single.client_id()
        client.client_kill_filter(_id=str(identity))
        assert single.ping()
        assert single.client_id() != identity


def test_an_interrupted_single_connection_gives_no_reply_to_another(
    client: CacheMesh, stack: LocalStack
) -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    def interrupt_when_it_waits() -> None:
        main = threading.main_thread().ident
        assert main is not None
        with redis.Redis(*parse_address(stack.info["shards"][0]["master"])) as direct:
            server: Any = direct
            until(lambda: server.info("clients")["blocked_clients"])
        signal.pthread_kill(main, signal.SIGUSR1)

    with client.client() as single:
        before = signal.signal(signal.SIGUSR1, interrupt)
        try:
            interrupter = threading.Thread(target=interrupt_when_it_waits)
            interrupter.start()
            with pytest.raises(Interrupted):
                single.blpop(["nothing"], 60)
            interrupter.join()
        finally:
            signal.signal(signal.SIGUSR1, before)
        client.rpush("nothing", "late")
        assert single.echo("mine") == b"mine"


def test_asyncio_client_keeps_to_one_connection(stack: LocalStack) -> None:
    async def body(mesh: cachemesh.asyncio.CacheMesh) -> None:
        single = mesh.client()
        await single.client_setname("mine")
        ids = set(await asyncio.gather(*(single.client_id() for _ in range(20))))
        assert len(ids) == 1
        assert single.connection is not None
        await mesh.client_kill_filter(_id=str(ids.pop()))
        assert await single.ping()
        assert await single.client_getname() is None
        await single.aclose()
        assert await mesh.ping()

    run(stack, body)


def test_single_connections_follow_a_failover(stack: LocalStack) -> None:
    """This test is the last, as it changes the stack."""
    shard = stack.info["shards"][0]["name"]
    with CacheMesh.from_url(stack.info["url"]) as mesh, mesh.client() as single:
        assert single.set("k", "before") and single.wait(1, 60_000) == 1
        old = stack.master_of(shard)
        keep_masters(stack, milliseconds=500)
        stack.process(str(old)).kill(signal.SIGKILL)
        until(lambda: stack.master_of(shard) != old)

        def answered() -> bool:
            try:
                return bool(single.get("k") == b"before")
            except cachemesh.ShardUnavailableError:
                return False

        until(answered)
        assert single.connection is not None
        assert len({single.client_id() for _ in range(10)}) == 1
