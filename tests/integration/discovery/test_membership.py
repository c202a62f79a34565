"""One follower for all clients of a pool in a process: shared, throttled, left, forked."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.core.errors import ConfigurationError
from cachemesh.core.names import Address, parse_address
from cachemesh.core.pool.topology import Topology
from cachemesh.discovery.membership import Membership
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from tests.support.metaserver_process import environment
from tests.support.sentinels import follower_threads, following, keep_masters, master_of, pool_file
from tests.support.waiting import AT_MOST, until

SHARDS = ["cache-0", "cache-1"]
THREADS = ["cachemesh-hear", "cachemesh-poll", "cachemesh-watch"]


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=1, dashboard=False) as running:
        keep_masters(running)
        yield running


@pytest.fixture
def url(stack: LocalStack, tmp_path: Path) -> str:
    return pool_file(tmp_path / "p.json", stack.info["sentinels"], SHARDS, poll_interval=0.5)


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    gc.collect()
    until(lambda: follower_threads() == [])
    yield
    gc.collect()
    until(lambda: follower_threads() == [])


def replica_of(member: Membership, shard: str) -> Address:
    member.want_replicas()
    replica: Address = until(lambda: member.topology().replicas.get(shard))[0]
    return replica


def test_many_clients_have_three_threads_and_are_one_to_the_metaserver(stack: LocalStack) -> None:
    api = MetaserverClient(stack.info["metaservers"], stack.token)

    def listed() -> list[Any]:
        return list(api.request("GET", "/v1/pools/cache/clients")["clients"])

    def client(number: int) -> CacheMesh:
        return CacheMesh.from_url(
            stack.info["url"], token=stack.token, decode_responses=bool(number % 2)
        )

    clients = [client(number) for number in range(50)]
    for number, mesh in enumerate(clients):
        assert mesh.set("k", "v")
        assert mesh.get("k") == ("v" if number % 2 else b"v")
    assert follower_threads() == THREADS
    assert len(until(listed)) == 1
    for mesh in clients[:20]:
        mesh.close()
    del clients[:40], mesh  # half of them without a goodbye
    gc.collect()
    assert clients[0].get("k")
    assert follower_threads() == THREADS
    version = clients[0].topology.document.version
    api.request("PATCH", "/v1/pools/cache/settings", {"settings": {"command_timeout": 4.0}})
    until(lambda: all(mesh.topology.document.version > version for mesh in clients))
    while clients:
        clients.pop().close()
    assert listed() == [], "the last one says goodbye for all"


def test_the_last_client_dropped_says_goodbye_too(stack: LocalStack) -> None:
    api = MetaserverClient(stack.info["metaservers"], stack.token)
    mesh: Any = CacheMesh.from_url(stack.info["url"], token=stack.token)
    assert mesh.ping()
    until(lambda: api.request("GET", "/v1/pools/cache/clients")["clients"])
    del mesh
    gc.collect()
    # Sooner than the 30 s of its lease.
    until(lambda: not api.request("GET", "/v1/pools/cache/clients")["clients"], 20)


def test_other_pools_and_other_credentials_are_followed_apart(url: str) -> None:
    with following(url) as one, following(url) as two, following(url, sentinel_timeout=1) as other:
        for member in (one, two, other):
            member.topology()
        assert one.topology() is two.topology()
        assert one.topology() is not other.topology()
        assert len(follower_threads()) == 6


def test_a_client_comes_and_goes_and_comes_again(url: str) -> None:
    mesh: Any = CacheMesh.from_url(url)
    for value in (b"1", b"2", b"3"):
        with mesh, CacheMesh.from_url(url) as other:
            assert mesh.set("k", value)
            assert other.get("k") == value
            assert follower_threads() == THREADS
        until(lambda: follower_threads() == [])


def test_threads_that_start_and_close_clients_at_once(url: str) -> None:
    wrong: list[object] = []

    def work(me: int) -> None:
        for _ in range(15):
            mesh: Any = CacheMesh.from_url(url)
            if not mesh.set(f"t{me}", me) or mesh.get(f"t{me}") != b"%d" % me:
                wrong.append(me)
            if me % 2:
                mesh.close()

    threads = [threading.Thread(target=work, args=(me,)) for me in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_clients_in_threads_and_in_event_loops_share(url: str) -> None:
    ready, counted = threading.Barrier(4), threading.Barrier(4)

    async def main() -> None:
        async with AsyncCacheMesh.from_url(url) as client:
            mesh: Any = client
            assert await mesh.set("loop", "1")
            await asyncio.to_thread(ready.wait, AT_MOST)
            await asyncio.to_thread(counted.wait, AT_MOST)
            assert await mesh.get("loop") == b"1"

    loops = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(3)]
    for loop in loops:
        loop.start()
    with CacheMesh.from_url(url) as mesh:
        assert mesh.ping()
        ready.wait(AT_MOST)
        assert follower_threads() == THREADS
        counted.wait(AT_MOST)
        for loop in loops:
            loop.join()
        assert follower_threads() == THREADS


def test_a_listener_that_fails_or_dawdles_stops_nobody_else(url: str) -> None:
    go_on, told = threading.Event(), list[Topology]()

    def failing(_: Topology) -> None:
        raise ConfigurationError("cannot")

    def slow(_: Topology) -> None:
        go_on.wait(AT_MOST)

    with (
        following(url, failing) as one,
        following(url, slow) as two,
        following(url, told.append) as three,
    ):
        one.topology(), two.topology()
        old = three.topology().masters["cache-0"]
        new = replica_of(three, "cache-0")
        try:
            three.report_master("cache-0", old, new)
            assert told[-1].masters["cache-0"] == new
            assert one.wait_for_master("cache-0", old, AT_MOST) == new
            looked = three.calls
            until(lambda: three.calls > looked)
            assert three.wait_for_master("cache-0", new, AT_MOST) == old
            assert told[-1].masters["cache-0"] == old
        finally:
            go_on.set()


def test_who_waits_for_a_delivery_waits_for_one_under_way(url: str) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: Topology) -> None:
        begun.set()
        go_on.wait(AT_MOST)

    with following(url, slow) as member:
        member.topology()
        deliverer = threading.Thread(target=member.catch_up)
        waiter = threading.Thread(target=member.catch_up, kwargs={"wait": True})
        deliverer.start()
        try:
            begun.wait(AT_MOST)
            waiter.start()
            until(lambda: not waiter.is_alive() or _is_in(waiter, "_deliver_now"))
            assert waiter.is_alive(), "what is only begun would be acknowledged"
        finally:
            go_on.set()
        waiter.join(AT_MOST)
        deliverer.join(AT_MOST)


def _is_in(thread: threading.Thread, function: str) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code.co_name == function


def test_a_reported_master_holds_against_sentinels_until_it_fails(
    stack: LocalStack, url: str
) -> None:
    with following(url) as member, following(url) as other:
        old = master_of(stack, "cache-0")
        new = replica_of(member, "cache-0")
        told: list[Address | None] = []
        waiter = threading.Thread(
            target=lambda: told.append(other.wait_for_master("cache-0", old, AT_MOST))
        )
        other.topology()
        waiter.start()
        member.report_master("cache-0", old, new)
        waiter.join(AT_MOST)
        assert told == [new], "who waits is woken at once"
        assert old not in member.topology().replicas["cache-0"]
        assert new not in member.topology().replicas["cache-0"]
        before = member.calls
        until(lambda: member.calls >= before + 3)  # polls that say what they said before
        assert member.topology().masters["cache-0"] == new
        member.report_master(
            "cache-0", old, parse_address("127.0.0.1:1")
        )  # about what is no master now
        assert member.topology().masters["cache-0"] == new
        assert member.wait_for_master("cache-0", new, AT_MOST) == old, "it does not serve"


def test_replicas_are_looked_for_once_somebody_wants_them(url: str) -> None:
    told: list[Topology] = []
    with following(url, told.append) as member, following(url) as reader:
        member.topology()
        before = member.calls
        until(lambda: member.calls > before)
        assert member.topology().replicas == {}
        reader.want_replicas()
        reader.topology()
        until(lambda: len(member.topology().replicas) == 2)
        until(lambda: told[-1].replicas == member.topology().replicas)
        assert told[-1].masters == told[0].masters


def test_a_hundred_threads_ask_sentinels_at_most_three_times_a_second(
    stack: LocalStack, url: str
) -> None:
    master, done = master_of(stack, "cache-0"), threading.Event()
    answers: list[Address | None] = []

    def ask(member: Membership) -> None:
        while not done.wait(0.01):
            answers.append(member.look_up_master("cache-0", master))

    with following(url) as member, following(url) as other:
        member.topology(), other.topology()
        threads = [threading.Thread(target=ask, args=(each,)) for each in (member, other) * 50]
        started, before = time.monotonic(), member.calls
        for thread in threads:
            thread.start()
        time.sleep(4)  # the time over which calls are counted, and more where they come slowly
        until(lambda: member.calls - before >= 4)
        calls, took = member.calls - before, time.monotonic() - started
        done.set()
        for thread in threads:
            thread.join()
        assert calls <= 3 * took
        assert set(answers) == {master}


def test_a_forked_child_follows_for_itself(stack: LocalStack, url: str) -> None:
    master = master_of(stack, "cache-0")
    busy = threading.Event()

    def keep_locks_busy(member: Membership) -> None:
        while not busy.is_set():
            member.look_up_master("cache-0", master)
            Membership(member._url, lambda _: None).topology()

    def child(mesh: Any, member: Membership) -> bool:
        threads = [follower_threads()]
        good = mesh.set("k", "child") and member.look_up_master("cache-0", master) == master
        threads.append(follower_threads())
        mesh.close()
        member.close()
        until(lambda: follower_threads() == [])
        return bool(good) and threads == [[], THREADS]

    with CacheMesh.from_url(url) as client, following(url) as member:
        mesh: Any = client
        assert mesh.set("k", "parent")
        assert member.topology() is mesh.topology
        thread = threading.Thread(target=keep_locks_busy, args=(member,))
        thread.start()
        try:
            assert [_in_child(lambda: child(mesh, member)) for _ in range(5)] == [0] * 5
        finally:
            busy.set()
            thread.join()
        assert mesh.get("k") == b"child"
        before = member.calls
        until(lambda: member.calls > before)
        assert follower_threads() == THREADS


def _in_child(body: Callable[[], bool]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if body() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize(
    "body",
    [
        "from cachemesh import CacheMesh; c = CacheMesh.from_env(); print(c.set('k', 'v'))",
        "import asyncio; from cachemesh.asyncio import CacheMesh\n"
        "async def main():\n"
        "    print(await CacheMesh.from_env().set('k', 'v'))\n"
        "asyncio.run(main())",
        "from cachemesh import CacheMesh; c = CacheMesh.from_env(); c.set('k', 'v'); 1 / 0",
    ],
)
def test_a_process_that_ends_without_closing_its_client_has_left(
    stack: LocalStack, body: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", body],
        env={**environment(), **stack.info["env"]},
        stderr=subprocess.DEVNULL,
    ) as process:
        process.wait(AT_MOST)
    api = MetaserverClient(stack.info["metaservers"], stack.token)

    def known() -> list[int]:
        clients = api.request("GET", "/v1/pools/cache/clients")["clients"]
        return [int(each["process"]) for each in clients]

    until(lambda: process.pid not in known())
