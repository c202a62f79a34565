"""How soon a new master is found, and what is sent to the former one."""

from __future__ import annotations

import threading
import time
from statistics import median
from typing import Any

import pytest

import cachemesh
from cachemesh import CacheMesh
from cachemesh.local import Process
from tests.support.both_clients import CLIENTS, calling
from tests.support.movable_pool import MovablePool, swap
from tests.support.plain_redis import calls_of, direct, target
from tests.support.waiting import AT_MOST, until


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
