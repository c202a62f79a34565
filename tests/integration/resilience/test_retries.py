"""What is sent again, how often it runs, and how soon a new master is found."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from operator import methodcaller
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import redis

import cachemesh
from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.local import Process
from tests.support.both_clients import CLIENTS, calling
from tests.support.movable_pool import MovablePool, reset, swap, unwatched_masters
from tests.support.plain_redis import calls_of, direct, target
from tests.support.rogue_server import HANG_UP, Server, Words, greeting
from tests.support.waiting import AT_MOST, in_time, until


@pytest.fixture(scope="module")
def redises() -> Iterator[list[Process]]:
    with unwatched_masters(3) as running:
        yield running


@pytest.fixture
def pair(redises: list[Process]) -> list[Process]:
    """A master and its replica, in step."""
    for process in redises:
        reset(process)
    old, new, _ = redises
    with direct(new) as replica:
        replica.replicaof(*target(old))
        until(lambda: in_step(replica))
    return [old, new]


@pytest.fixture
def site(pair: list[Process], redises: list[Process], tmp_path: Path) -> Iterator[MovablePool]:
    masters = {"cache-0": target(pair[0]), "cache-1": target(redises[2])}
    with MovablePool(masters, tmp_path) as made:
        yield made


def in_step(replica: Any) -> bool:
    info: Any = replica.info("replication")
    return bool(info.get("master_link_status") == "up")


def hand_over(pair: list[Process]) -> None:
    """A planned failover by hand: writes wait, then hear READONLY."""
    old, new = pair
    with direct(old) as master, direct(new) as replica:
        master.client_pause(5_000, all=False)
        offset = master.info("replication")["master_repl_offset"]
        until(lambda: replica.info("replication")["master_repl_offset"] >= offset)
        replica.replicaof("NO", "ONE")
        master.replicaof(*target(new))
        master.client_unpause()


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("use", ["a connection there is", "a new one"])
def test_a_replica_names_its_master(
    use: str, kind: str, site: MovablePool, pair: list[Process]
) -> None:
    (key,) = site.keys()
    with calling(kind, site.url) as caller:
        if use == "a connection there is":
            caller(lambda mesh: mesh.set(key, 0))
        else:
            caller(lambda mesh: mesh.set(site.keys("cache-1")[0], 0))
        swap(*pair)
        assert caller(lambda mesh: mesh.incr(key)) == 1, "though Sentinel names the former one"
        assert caller.health().master == target(pair[1])
        with direct(pair[0]) as old:
            before: Any = old.info("errorstats")
            assert caller(lambda mesh: mesh.incr(key)) == 2
            assert old.info("errorstats") == before, "the former one is not asked again"
        with direct(pair[1]) as new:
            assert new.get(key) == "2"


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("promoted", ["the other", "the same again"])
def test_nothing_is_sent_to_a_former_master(
    promoted: str, kind: str, site: MovablePool, pair: list[Process]
) -> None:
    """It may hang up on what it is sent, and then nobody knows whether that has run."""
    old, new = pair
    (key,) = site.keys()
    with calling(kind, site.url, command_timeout=AT_MOST) as caller, direct(old) as former:
        caller(lambda mesh: mesh.set(key, 0))
        former.replicaof(*target(new))
        written: list[Any] = []
        uses = (
            lambda mesh: mesh.incr(key),
            lambda mesh: mesh.pipeline(transaction=False).incr(key).execute(),
        )
        writing = [
            threading.Thread(target=lambda use=use: written.append(caller(use))) for use in uses
        ]
        for thread in writing:
            thread.start()
        asked = calls_of(old, "role")
        until(lambda: calls_of(old, "role") > asked + 10)
        stats: Any = former.info("errorstats")
        assert stats["errorstat_READONLY"]["count"] <= len(uses)
        with direct(new if promoted == "the other" else old) as master:
            master.replicaof("NO", "ONE")
        for thread in writing:
            thread.join()
        assert sorted(str(reply) for reply in written) in (["1", "[2]"], ["2", "[1]"])


@pytest.mark.parametrize("kind", CLIENTS)
def test_watch_finds_it_too(kind: str, site: MovablePool, pair: list[Process]) -> None:
    (key,) = site.keys()
    with calling(kind, site.url) as caller:
        caller(lambda mesh: mesh.ping())
        swap(*pair)

        async def watch_async(pipe: Any) -> Any:
            await pipe.watch(key)
            pipe.multi()
            return await pipe.set(key, 1).execute()

        def watch(mesh: Any) -> Any:
            pipe = mesh.pipeline()
            if kind == "asyncio":
                return watch_async(pipe)
            pipe.watch(key)
            pipe.multi()
            return pipe.set(key, 1).execute()

        assert caller(watch) == [True]
        with direct(pair[1]) as new:
            assert new.get(key) == "1"


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("transaction", [None, False, True])
def test_pipelines_during_a_switch(
    transaction: bool | None, kind: str, site: MovablePool, pair: list[Process]
) -> None:
    (key,), (other,) = site.keys(), site.keys("cache-1")
    with calling(kind, site.url, decode_responses=True) as caller:
        caller(lambda mesh: mesh.mset({key: 0, other: 0}))
        stop = threading.Event()
        rows: list[Any] = []
        mistakes: list[Exception] = []

        def add() -> None:
            while not stop.is_set():

                def use(mesh: Any) -> Any:
                    pipe = mesh.pipeline(transaction=transaction)
                    pipe.incr(key).get(key).rpush(f"{{{key}}}list", 1).llen(f"{{{key}}}list")
                    if transaction is not True:
                        pipe.incr(other)
                    return pipe.incr(key).get(key).execute()

                came, _ = caller.timed(use)
                (mistakes if isinstance(came, Exception) else rows).append(came)

        thread = threading.Thread(target=add)
        thread.start()
        until(lambda: len(rows) > 20)
        hand_over(pair)
        former = len(rows)
        until(lambda: len(rows) > former + 20)
        stop.set()
        thread.join()
        assert mistakes == []
        for number, row in enumerate(rows):
            first, read, pushed, length, *_, second, last = row
            assert first == 2 * number + 1
            assert second == 2 * number + 2
            assert (read, last) == (str(first), str(second)), "a read before its write"
            assert pushed == length == number + 1
        if transaction is not True:
            assert rows[-1][4] == len(rows)


@pytest.mark.parametrize("kind", CLIENTS)
def test_reads_behind_a_write_that_was_refused(
    kind: str, site: MovablePool, pair: list[Process]
) -> None:
    (key,) = site.keys()
    with calling(kind, site.url, decode_responses=True) as caller:
        caller(lambda mesh: mesh.set(key, "old"))
        with direct(pair[1]) as replica:
            until(lambda: replica.get(key) == "old")
        swap(*pair)
        assert caller(
            lambda m: m.pipeline(transaction=False).get(key).set(key, "new").get(key).execute()
        ) == ["old", True, "new"]


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
def test_a_blocked_pop_moves_to_the_new_master(
    kind: str, site: MovablePool, pair: list[Process]
) -> None:
    (key,) = site.keys()
    with calling(kind, site.url, decode_responses=True) as caller:
        popped: list[Any] = []
        waiting = threading.Thread(
            target=lambda: popped.append(caller(lambda mesh: mesh.blpop([key], timeout=60)))
        )
        with direct(pair[0]) as old:
            waiting.start()
            until(lambda: old.info("clients")["blocked_clients"])
        swap(*pair)
        with direct(pair[1]) as new:
            until(lambda: new.info("clients")["blocked_clients"])
            new.rpush(key, "v")
        waiting.join()
        assert popped == [(key, "v")]


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


def test_many_threads_when_a_master_dies(site: MovablePool, pair: list[Process]) -> None:
    (key,), (other,) = site.keys(), site.keys("cache-1")
    with CacheMesh.from_url(site.url, decode_responses=True) as mesh:
        mesh.mset({key: 0, other: 0})
        stop = threading.Event()
        done = {key: 0, other: 0}
        waits: dict[str, list[float]] = {key: [], other: []}

        def work(name: str) -> None:
            while not stop.is_set():
                began = time.monotonic()
                try:
                    mesh.incr(name)
                    done[name] += 1
                except cachemesh.ShardUnavailableError:
                    time.sleep(0.05)
                waits[name].append(time.monotonic() - began)
                time.sleep(0.02)

        threads = [
            threading.Thread(target=work, args=(name,)) for name in (key, other) for _ in range(100)
        ]
        for thread in threads:
            thread.start()
        until(lambda: min(done.values()) > 200)
        waits[other].clear()
        until(lambda: len(waits[other]) > 1000)
        usual = median(waits[other])
        calls, began = mesh._core.membership.calls, time.monotonic()
        pair[0].kill()
        waits[other].clear()
        try:
            # Calls are counted over two seconds or more: a rate needs time.
            until(lambda: len(waits[other]) > 1000 and time.monotonic() > began + 2.0)
            # Two hundred threads share a core; to wait for a connection or a Sentinel takes longer.
            bound = max(0.5, 5 * usual)  # the latter on a machine that is slow with all shards up
            assert median(waits[other]) < bound, "a hundred others are busy with the dead one"
            seconds = time.monotonic() - began
            assert (mesh._core.membership.calls - calls) / seconds <= 3.5
            with direct(pair[1]) as new:
                new.replicaof("NO", "ONE")
            site.masters["cache-0"] = target(pair[1])
            former = done[key]
            until(lambda: done[key] > former + 200)
            stop.set()
            for thread in threads:
                thread.join(AT_MOST)
            assert not any(thread.is_alive() for thread in threads)
        finally:
            stop.set()
            pair[0].restart()


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
