"""A shard that does not serve costs milliseconds, one probe at a time, and nothing elsewhere."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from functools import partial
from operator import methodcaller
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import redis

import cachemesh
from cachemesh import CacheMesh
from cachemesh.core.resilience.error_classification import BreakerOpenError
from cachemesh.local import Process
from tests.support.both_clients import CLIENTS, Caller, calling
from tests.support.movable_pool import MovablePool
from tests.support.plain_redis import direct
from tests.support.rogue_server import HANG_UP, Server, full_backlog, greeting, silent
from tests.support.waiting import AT_MOST, until

# Seconds: to find that a server says nothing, and for commands of another one meanwhile.
CONNECT, LIMIT = 0.3, 3.0


def open_breaker(caller: Caller, key: str) -> None:
    for _ in range(5):
        caller.timed(lambda mesh: mesh.get(key))
        if caller.health().breaker != "closed":
            return
    assert caller.health().breaker in ("open", "half-open")


def probes() -> int:
    return ours().count("cachemesh-probe")


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_opens_fails_at_once_and_closes(
    how: str, kind: str, site: MovablePool, redises: list[Process]
) -> None:
    (key,), (other,) = site.keys(), site.keys("cache-1")
    options: dict[str, Any] = {"connect_timeout": CONNECT, "command_timeout": LIMIT}
    with calling(kind, site.url, **options) as caller:
        caller(lambda mesh: mesh.mset({key: 1, other: 1}))
        if how == "killed":
            redises[0].kill()
        else:
            redises[0].pause()
        try:
            open_breaker(caller, key)
            # A probe that takes its time shows; one that is refused at once may not.
            states = {"open", "half-open"} if how == "stopped" else {"open"}
            seen: set[str] = set()
            waited: list[float] = []

            def enough() -> bool:
                came, seconds = caller.timed(methodcaller("get", key))
                waited.append(seconds)
                assert isinstance(came, cachemesh.ShardUnavailableError)
                assert isinstance(came.__cause__, BreakerOpenError), "nobody was asked"
                assert caller(methodcaller("get", other)) == b"1"
                seen.add(caller.health().breaker)
                return len(waited) >= 50 and seen >= states

            until(enough)
            assert seen <= {"open", "half-open"}
            assert median(waited) < CONNECT, "nobody waits for a probe"
            assert caller.health("cache-1").breaker == "closed"
        finally:
            if how == "killed":
                redises[0].restart()
            else:
                redises[0].resume()
        until(lambda: caller.health().breaker == "closed")
        assert caller(lambda mesh: mesh.set(key, 2))


@pytest.mark.parametrize("kind", CLIENTS)
def test_every_way_in_fails_at_once(kind: str, tmp_path: Path) -> None:
    with (
        full_backlog() as nowhere,
        MovablePool({"cache-0": nowhere}, tmp_path) as site,
        calling(kind, site.url, command_timeout=0.2) as caller,
    ):
        open_breaker(caller, "k")
        for use in (
            lambda mesh: mesh.set("k", 1),
            lambda mesh: mesh.mget("k", "l"),
            lambda mesh: mesh.dbsize(),
            lambda mesh: mesh.blpop(["k"], timeout=5),
            lambda mesh: mesh.pipeline(transaction=False).set("k", 1).get("k").execute(),
            lambda mesh: mesh.pipeline().set("k", 1).execute(),
            lambda mesh: mesh.pipeline(transaction=True).set("k", 1).execute(),
            lambda mesh: mesh.pipeline().watch("k"),
        ):
            assert caller.fails_at_once(use)


@pytest.mark.parametrize("kind", CLIENTS)
def test_one_probe_at_a_time_whatever_the_number_of_threads(kind: str, tmp_path: Path) -> None:
    with (
        silent() as trap,
        MovablePool({"cache-0": trap.address}, tmp_path) as site,
        calling(kind, site.url, command_timeout=CONNECT) as caller,
    ):
        open_breaker(caller, "k")
        before, began, most = trap.connections_so_far(), time.monotonic(), 0
        stop = threading.Event()
        failed: list[object] = []

        def hammer() -> None:
            while not stop.wait(0.002):
                failed.append(caller.timed(lambda mesh: mesh.get("k")))

        threads = [threading.Thread(target=hammer) for _ in range(20)]
        for thread in threads:
            thread.start()
        while trap.connections < before + 3 or len(failed) < 200:
            most = max(most, probes())
            time.sleep(0.005)
        stop.set()
        for thread in threads:
            thread.join()
        assert most <= 1
        probed = trap.connections_so_far() - before
        # A probe waits that long for a reply before the next one begins.
        assert probed <= 1 + (time.monotonic() - began) / CONNECT


def test_connections_there_are_go_on_where_new_ones_are_refused(
    site: MovablePool, redises: list[Process]
) -> None:
    (key,) = site.keys()
    with calling("sync", site.url) as caller, direct(redises[0]) as server:
        caller(lambda mesh: mesh.set(key, 0))
        server.config_set("maxclients", 1)
        done: list[int] = []
        refused: list[Exception] = []
        stop = threading.Event()

        def hammer() -> None:
            while not stop.is_set():
                came, _ = caller.timed(lambda mesh: mesh.incr(key))
                if isinstance(came, Exception):
                    refused.append(came)
                else:
                    done.append(came)

        threads = [threading.Thread(target=hammer) for _ in range(8)]
        for thread in threads:
            thread.start()
        until(lambda: caller.health().breaker != "closed")
        former = len(done)
        until(lambda: len(done) > former + 100)
        assert caller.health().breaker != "closed", "only a probe closes it"
        assert probes() <= 1
        server.config_set("maxclients", 10_000)
        until(lambda: caller.health().breaker == "closed")
        stop.set()
        for thread in threads:
            thread.join()
        assert all(isinstance(error, cachemesh.ShardUnavailableError) for error in refused)
        assert server.get(key) == str(len(done))


def test_the_shared_connection_goes_on_where_new_ones_are_refused(
    site: MovablePool, redises: list[Process]
) -> None:
    (key,) = site.keys()
    with (
        calling("asyncio", site.url, command_timeout=LIMIT) as caller,
        direct(redises[0]) as server,
    ):
        caller.warm(lambda mesh: mesh.set(key, 0))
        server.config_set("maxclients", 1)
        blocked = threading.Thread(
            target=lambda: caller.timed(lambda mesh: mesh.blpop([key], timeout=0.1))
        )
        blocked.start()  # wants a connection of its own, until the time limit
        count = 0
        while blocked.is_alive() or count < 100:
            count += 1
            assert caller(lambda mesh: mesh.incr(key)) == count


@pytest.mark.parametrize("kind", CLIENTS)
def test_broken_connections_open_nothing(
    kind: str, site: MovablePool, redises: list[Process]
) -> None:
    (key,) = site.keys()
    patient = {"connect_timeout": AT_MOST, "command_timeout": AT_MOST}
    with calling(kind, site.url, **patient) as caller, direct(redises[0]) as server:
        caller(lambda mesh: mesh.set(key, "v"))
        states, errors = set(), []
        stop = threading.Event()
        turns = [0] * 4

        def hammer(me: int) -> None:
            while not stop.is_set():
                came, _ = caller.timed(lambda mesh: mesh.get(key))
                states.add(caller.health().breaker)
                turns[me] += 1
                if isinstance(came, Exception):
                    errors.append(came)

        def reached(wanted: list[int]) -> bool:
            return all(turn >= so for turn, so in zip(turns, wanted, strict=True))

        threads = [threading.Thread(target=hammer, args=(me,)) for me in range(len(turns))]
        for thread in threads:
            thread.start()
        for _ in range(20):
            server.client_kill_filter(_type="normal", skipme=True)
            # One command goes through two that break, not through any number.
            until(partial(reached, [turn + 2 for turn in turns]))
        stop.set()
        for thread in threads:
            thread.join()
        assert errors == []
        assert states == {"closed"}


@pytest.mark.parametrize("kind", CLIENTS)
def test_loading_is_not_serving(kind: str, tmp_path: Path) -> None:
    loading = threading.Event()
    loading.set()
    asked: list[bytes] = []

    def answer(words: list[bytes]) -> bytes | None:
        asked.append(words[0])
        if reply := greeting(words):
            return reply
        if loading.is_set():
            return b"-LOADING Redis is loading the dataset in memory\r\n"
        return b"+PONG\r\n" if words[0] == b"PING" else b"$1\r\nv\r\n"

    with (
        Server(answer) as server,
        MovablePool({"cache-0": server.address}, tmp_path) as site,
        calling(kind, site.url) as caller,
    ):
        open_breaker(caller, "k")
        until(lambda: asked.count(b"PING") >= 2)
        assert caller.health().breaker != "closed"
        loading.clear()
        until(lambda: caller.health().breaker == "closed")
        assert caller(lambda mesh: mesh.get("k")) == b"v"


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"-ERR max number of databases is 1\r\n", redis.RedisError),
        (b"-WRONGPASS invalid username-password pair\r\n", redis.AuthenticationError),
        (b"-NOPERM no permissions to run SELECT\r\n", redis.RedisError),
    ],
)
def test_what_the_handshake_says_does_not_end_the_probing(
    said: bytes, error: type[Exception], kind: str, tmp_path: Path
) -> None:
    say = {b"ROLE": HANG_UP}

    def answer(words: list[bytes]) -> bytes | None:
        if words[0] == b"SELECT":
            return say.get(b"SELECT", b"+OK\r\n")
        return say.get(words[0]) or greeting(words) or b"+PONG\r\n"

    with (
        Server(answer) as server,
        MovablePool({"cache-0": server.address}, tmp_path) as site,
        calling(kind, site.url, db=9) as caller,
    ):
        open_breaker(caller, "k")
        say[b"SELECT"] = said
        del say[b"ROLE"]
        if error is redis.AuthenticationError:
            until(lambda: caller.health().breaker == "closed")  # it serves, but not us
        came, _ = caller.timed(lambda mesh: mesh.get("k"))
        assert isinstance(came, error)
        assert error is redis.RedisError or not isinstance(came, cachemesh.ShardUnavailableError)
        del say[b"SELECT"]
        until(lambda: caller.health().breaker == "closed")
        assert caller(lambda mesh: mesh.get("k")) == b"PONG"


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("how", ["closed", "collected"])
def test_nothing_is_left_of_a_client(how: str, kind: str, tmp_path: Path) -> None:
    with silent() as trap, MovablePool({"cache-0": trap.address}, tmp_path) as site:
        callers = [Caller(kind, site.url, command_timeout=0.05) for _ in range(5)]
        for caller in callers:
            open_breaker(caller, "k")
        while callers:
            caller = callers.pop()
            if how == "collected":
                caller.drop()
            caller.close()
        del caller
        gc.collect()
        until(lambda: not ours())
        opened = trap.connections_so_far()
        time.sleep(1.1)  # longer than from one probe to the next
        assert trap.connections_so_far() == opened


def ours() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("cachemesh-")]


def test_closed_while_threads_try_again(
    tmp_path: Path, site: MovablePool, redises: list[Process]
) -> None:
    (key,) = site.keys()
    redises[0].kill()
    try:
        mesh = CacheMesh.from_url(site.url)
        errors: list[Exception] = []

        def one(get: Callable[[str], object] = mesh.get) -> None:
            try:
                get(key)
            except cachemesh.ShardUnavailableError as error:
                errors.append(error)

        assert mesh.topology
        threads = [threading.Thread(target=one) for _ in range(30)]
        for thread in threads:
            thread.start()
        mesh.close()
        for thread in threads:
            thread.join()
        assert errors
        mesh.close()
        threads.clear()
        del mesh, one, thread
        gc.collect()
        until(lambda: not ours())
    finally:
        redises[0].restart()
