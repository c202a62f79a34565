"""Clients made, dropped, closed, forked, shared, and in processes of gevent and uvloop."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cachemesh
from cachemesh.local import LocalStack
from tests.support.plain_redis import direct
from tests.support.process_cleanup import ending
from tests.support.stack_clients import connect, connect_async, key_on, masters
from tests.support.waiting import AT_MOST

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=0, sentinels=1, dashboard=False) as running:
        yield running


def of_sentinel(stack: LocalStack) -> str:
    return f"cachemesh+sentinel://{stack.info['sentinels'][0]}/cache"


@pytest.mark.usefixtures("nothing_left")
def test_hundreds_of_clients_leave_nothing_behind(stack: LocalStack) -> None:
    for number in range(150):
        mesh = connect(stack)
        mesh.mget("a", "b", "c")
        if number % 2:
            mesh.close()
        del mesh  # else it is dropped without


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore:loop is closed")
def test_a_dropped_asyncio_client_leaves_nothing_behind(
    stack: LocalStack, capfd: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        for _ in range(5):
            mesh = connect_async(stack)
            await mesh.mget("a", "b", "c")
            await mesh.blpop(["nothing"], timeout=0.01)
            del mesh
        gc.collect()
        await asyncio.sleep(0)

    async def keep() -> Any:
        mesh = connect_async(stack)
        await mesh.mget("a", "b", "c")
        return mesh

    asyncio.run(main())
    mesh = asyncio.run(keep())  # dropped after its loop is closed
    del mesh
    gc.collect()
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("nothing_left")
def test_async_with_works_twice(stack: LocalStack) -> None:
    async def main() -> None:
        mesh = connect_async(stack)
        for value in (b"1", b"2"):
            async with mesh:
                await mesh.set("twice", value)
                assert await mesh.get("twice") == value

    asyncio.run(main())


@pytest.mark.usefixtures("nothing_left")
def test_thousands_of_tasks_share_the_first_connection(stack: LocalStack) -> None:
    def accepted() -> int:
        total = 0
        for address in masters(stack):
            with direct(address) as server:
                total += server.info("stats")["total_connections_received"]
        return total

    async def main() -> None:
        async with connect_async(stack) as mesh:
            before = accepted()
            await asyncio.gather(*(mesh.get(f"k{i}") for i in range(2000)))
            # One each; the second look's own; the monitor and Sentinel may come by.
            assert accepted() - before <= 2 + 2 + 4

    asyncio.run(main())


@pytest.mark.usefixtures("nothing_left")
def test_two_event_loops_at_once_are_refused_and_never_mixed(stack: LocalStack) -> None:
    mesh = connect_async(stack, decode_responses=True)
    results: dict[str, list[Any]] = {"wrong": [], "refused": [], "right": []}
    started = threading.Barrier(2)

    async def use(me: int) -> None:
        for i in range(300):
            key = f"loop{me}:{i % 10}"
            try:
                await mesh.set(key, key)
                got = await mesh.get(key)
            except cachemesh.ConfigurationError as error:
                results["refused"].append(str(error))
            else:
                results["right" if got == key else "wrong"].append(got)
            if i == 5:
                started.wait(AT_MOST)

    threads = [threading.Thread(target=lambda me=me: asyncio.run(use(me))) for me in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(mesh.aclose())
    assert results["wrong"] == []
    assert len(results["right"]) >= 300
    assert set(results["refused"]) <= {
        "This client is in use in another event loop, which is running; make a client for each "
        "loop, or close it there first"
    }


def test_threads_and_forks(stack: LocalStack) -> None:
    mesh = connect(stack)
    wrong: list[object] = []
    done = threading.Event()

    def work(me: int) -> None:
        while not done.is_set():
            mesh.set(f"t{me}", f"{me}")
            got = mesh.get(f"t{me}")
            if got != b"%d" % me:
                wrong.append(got)

    def child(me: int) -> int:
        good = all(mesh.set(f"c{me}", i) and mesh.get(f"c{me}") == b"%d" % i for i in range(100))
        threads = sum(t.name.startswith("cachemesh-") for t in threading.enumerate())
        mesh.close()
        return 0 if good and threads == 3 else 1  # it follows the pool by threads of its own

    threads = [threading.Thread(target=work, args=(me,)) for me in range(3)]
    for thread in threads:
        thread.start()
    pids = []
    for me in range(6):
        pid = os.fork()
        if pid == 0:
            code = 2
            try:
                code = child(me)
            finally:
                os._exit(code)
        pids.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    done.set()
    for thread in threads:
        thread.join()
    mesh.close()
    assert codes == [0] * 6
    assert wrong == []


_GEVENT = """
from gevent import monkey

monkey.patch_all()
import sys
import time

import gevent
from cachemesh import CacheMesh, ShardTimeoutError
from tests.support.waiting import in_time

mesh = CacheMesh.from_url(sys.argv[1], decode_responses=True)
hasty = CacheMesh.from_url(sys.argv[1], decode_responses=True, socket_timeout=0.3)


def work(me):
    for i in range(20):
        key = f"g{me}:{i % 5}"
        assert mesh.set(key, key) and mesh.get(key) == key
        assert mesh.mget(key, "none", key) == [key, None, key]


gevent.joinall([gevent.spawn(work, me) for me in range(20)], raise_error=True)

started = time.monotonic()
waits = [gevent.spawn(mesh.blpop, [f"q{i}"], 0.4) for i in range(20)]
gevent.joinall(waits, raise_error=True)
in_time(time.monotonic() - started, 0.4)  # all wait at the same time, not for 8 s

while True:
    try:
        hasty.get("a")
        break
    except ShardTimeoutError:
        pass  # the first one may take its time
print("ready", flush=True)
sys.stdin.readline()  # now the servers are stalled
started = time.monotonic()
try:
    hasty.get("a")
except ShardTimeoutError:
    in_time(time.monotonic() - started, 0.3)
    print("timeout", flush=True)
with gevent.Timeout(0.1, False):
    mesh.get("a")
print("broken off", flush=True)
sys.stdin.readline()
assert mesh.set("a", "after") and mesh.get("a") == "after"
mesh.close()
hasty.close()
print("done")
"""


def test_a_process_patched_by_gevent(stack: LocalStack) -> None:
    processes = [stack.process(address) for address in masters(stack)]
    with ending(
        subprocess.Popen(
            [sys.executable, "-c", _GEVENT, of_sentinel(stack)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        )
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        try:
            for process in processes:
                process.pause()
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "timeout\n"
            assert child.stdout.readline() == "broken off\n"
        finally:
            for process in processes:
                process.resume()
        out, _ = child.communicate("\n", timeout=AT_MOST)
    assert out == "done\n"
    assert child.returncode == 0


def test_uvloop(stack: LocalStack) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
        async with connect_async(stack, decode_responses=True) as mesh:
            keys = [f"u{i}" for i in range(300)]
            await mesh.mset({key: key * 500 for key in keys})
            tasks = [asyncio.create_task(mesh.get(key)) for key in keys]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            got = await asyncio.gather(*tasks, return_exceptions=True)
            assert got[1::2] == [key * 500 for key in keys[1::2]]
            assert await mesh.mget(keys) == [key * 500 for key in keys]
            assert await mesh.pipeline().get("u1").get("u2").execute() == ["u1" * 500, "u2" * 500]
            assert await mesh.blpop(["nothing"], timeout=0.01) is None
            async with mesh.pubsub(ignore_subscribe_messages=True) as pubsub:
                await pubsub.subscribe("news")
                assert await mesh.publish("news", "n" * 500_000) == 1
                assert (await pubsub.get_message(timeout=AT_MOST))["data"] == "n" * 500_000
            process = stack.process(masters(stack)[0])
            process.pause()
            try:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(mesh.get(key_on(mesh, "cache-0")), 0.1)
            finally:
                process.resume()

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
