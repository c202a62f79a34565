"""What is sent again, and how often it runs."""

from __future__ import annotations

import asyncio
import threading
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest
import redis

import cachemesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.local import Process
from tests.support.both_clients import CLIENTS, calling
from tests.support.movable_pool import MovablePool
from tests.support.plain_redis import calls_of, direct
from tests.support.rogue_server import HANG_UP, Server, Words, greeting
from tests.support.waiting import AT_MOST, in_time, until


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("retry_writes", [False, True])
def test_a_stall(retry_writes: bool, kind: str, site: MovablePool, pair: list[Process]) -> None:
    (key,), (other,) = site.keys(), site.keys("cache-1")
    master = pair[0]
    with calling(kind, site.url, command_timeout=1.0, retry_writes=retry_writes) as caller:
        caller.warm(lambda mesh: mesh.mset({key: 0, other: 0}))
        master.pause()
        try:
            came, seconds = caller.timed(lambda mesh: mesh.incr(key))
            assert isinstance(came, cachemesh.ShardTimeoutError)
            in_time(seconds, 1.0)
            assert caller(lambda mesh: mesh.incr(other)) == 1
        finally:
            master.resume()
        until(lambda: caller.health().breaker == "closed")
        count = int(caller(lambda mesh: mesh.get(key)))
        assert count == calls_of(master, "incrby") <= 1


@pytest.mark.parametrize("kind", CLIENTS)
def test_what_may_have_run_is_sent_again_only_if_it_may(kind: str, tmp_path: Path) -> None:
    ran: list[bytes] = []

    def answer(words: Words) -> bytes | None:
        if reply := greeting(words):
            return reply
        ran.append(words[0])
        return HANG_UP if ran.count(words[0]) == 1 else b":1\r\n"

    with (
        Server(answer) as server,
        MovablePool({"cache-0": server.address}, tmp_path) as site,
        calling(kind, site.url) as caller,
    ):
        assert caller(lambda mesh: mesh.strlen("k")) == 1
        assert ran.count(b"STRLEN") == 2
        for use in (
            lambda mesh: mesh.incr("k"),
            lambda mesh: mesh.pipeline(transaction=False).append("k", "v").execute(),
            lambda mesh: mesh.mset({"k": 1, "l": 2}),
            lambda mesh: mesh.blpop(["k"], timeout=0.1),
        ):
            came, _ = caller.timed(use)
            assert isinstance(came, cachemesh.ShardUnavailableError)
        assert sorted(ran[2:]) == [b"APPEND", b"BLPOP", b"INCRBY", b"MSET"]
        view = caller.mesh.with_options(retry_writes=True)
        for method, command in ("decr", b"DECRBY"), ("llen", b"LLEN"):
            assert caller.on(view, methodcaller(method, "k")) == 1
            assert ran.count(command) == 2
        came = caller.on(view, lambda m: m.pipeline(transaction=False).sadd("k", "v").execute())
        assert came == [1]
        assert ran.count(b"SADD") == 2


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_pop_that_was_unblocked_goes_on_elsewhere(kind: str, tmp_path: Path) -> None:
    """Redis hangs up after that reply, but not at once."""
    unblocked: set[threading.Thread] = set()

    def answer(words: Words) -> bytes | None:
        if reply := greeting(words):
            return reply
        connection = threading.current_thread()  # each has one
        if connection in unblocked:
            return HANG_UP
        if not unblocked:
            unblocked.add(connection)
            return b"-UNBLOCKED force unblock from blocking operation\r\n"
        return b"*2\r\n$1\r\nk\r\n$1\r\nv\r\n"

    with (
        Server(answer) as server,
        MovablePool({"cache-0": server.address}, tmp_path) as site,
        calling(kind, site.url) as caller,
    ):
        assert tuple(caller(lambda mesh: mesh.blpop(["k"], timeout=5))) == (b"k", b"v")
        assert unblocked


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_pop_under_way_is_not_taken_twice(
    kind: str, site: MovablePool, pair: list[Process]
) -> None:
    (key,) = site.keys()
    with calling(kind, site.url, decode_responses=True) as caller, direct(pair[0]) as server:
        popped: list[Any] = []
        pushed = threading.Event()

        def pop() -> None:
            came: Any = ()
            while came is not None or not pushed.is_set():
                came, _ = caller.timed(lambda mesh: mesh.blpop([key], timeout=1))
                if isinstance(came, tuple):
                    popped.append(came[1])

        threads = [threading.Thread(target=pop) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(200):
            server.rpush(key, number)
            if number % 20 == 0:
                server.client_kill_filter(_type="normal", skipme=True)
        pushed.set()
        for thread in threads:
            thread.join()
        assert len(popped) == len(set(popped))
        assert server.llen(key) == 0


def test_cancelled_while_it_is_tried_again(site: MovablePool, pair: list[Process]) -> None:
    (key,) = site.keys()

    async def main() -> None:
        made: Any = AsyncCacheMesh.from_url(site.url, command_timeout=2.0)
        async with made as mesh:
            await mesh.set(key, 0)
            pair[0].kill()
            tasks = [asyncio.create_task(mesh.incr(key)) for _ in range(50)]
            await asyncio.sleep(0.01)  # any moment will do: it is cancelled somewhere on its way
            for task in tasks[::2]:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(
                isinstance(o, (asyncio.CancelledError, redis.ConnectionError)) for o in outcomes
            )
            await asyncio.get_running_loop().run_in_executor(None, pair[0].restart)
            while mesh.health()["cache-0"].breaker != "closed":
                await asyncio.sleep(0.02)
            await mesh.set(key, "mine")
            assert await mesh.get(key) == b"mine"
            counts = await asyncio.gather(*(mesh.incr("n") for _ in range(100)))
            assert counts == list(range(1, 101))
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        _, pending = await asyncio.wait(left, timeout=AT_MOST) if left else ((), ())
        assert not pending

    asyncio.run(main())
