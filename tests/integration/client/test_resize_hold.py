"""The preparation of a resize, with both clients under load: who is held, and what is under way."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.core.errors import ShardTimeoutError
from cachemesh.core.placement import Placement, Shard, SlotsPlacement
from cachemesh.local import LocalStack, Process
from tests.support.plain_redis import direct
from tests.support.resizable_pool import ResizablePool
from tests.support.waiting import AT_MOST, PATIENT, until

KEYS = [f"key:{number}" for number in range(60)]
CYCLES = 2


@pytest.fixture(scope="module")
def masters() -> Iterator[list[Process]]:
    with LocalStack(shards=3, replicas=0, sentinels=1, metaservers=0) as stack:
        yield [p for p in stack.processes if p.kind == "redis"]


@pytest.fixture
def pool(masters: list[Process], tmp_path: Path) -> Iterator[ResizablePool]:
    for master in masters:
        with direct(str(master.address)) as client:
            client.flushall()
    with ResizablePool(masters, tmp_path) as pool:
        yield pool


def moving(before: Placement, after: Placement) -> list[str]:
    return [key for key in KEYS if before.shard_for(key) != after.shard_for(key)]


class Held:
    """Values of keys at their owners, read from the servers themselves."""

    def __init__(self, pool: ResizablePool, placement: Placement) -> None:
        self._pool = pool
        self._placement = placement

    def at_owner(self, keys: list[str]) -> list[bytes | None]:
        return [self._call("GET", key) for key in keys]

    def drop(self, keys: list[str]) -> None:
        for key in keys:
            self._call("UNLINK", key)

    def _call(self, *words: str) -> Any:
        host, port = self._pool.masters[self._placement.shard_for(words[1])]
        with redis.Redis(host, port) as client:
            return client.execute_command(*words)


def acknowledged(core: Any) -> int:
    """Return the version that the client would call applied now."""
    follower = core.membership._follower
    version: int = follower._watch._acknowledged(follower.latest.document)
    return version


def resize(pool: ResizablePool, core: Any, before: Placement, after: Placement) -> None:
    """Prepare, check that nothing runs any more on moving keys, drop them, and commit."""
    keys = moving(before, after)
    assert keys
    version = pool.write(before, after)
    until(lambda: acknowledged(core) == version)
    held = Held(pool, before)
    first = held.at_owner(keys)
    for _ in range(3):  # those who could still write go on meanwhile
        assert held.at_owner(keys) == first, "a command ran at the former owner"
    held.drop(keys)
    version = pool.write(after)
    until(lambda: core.membership.topology().document.version == version)
    assert held.at_owner(keys) == [None] * len(keys), "a command ran at the former owner"


class Writer:
    """Writes rising numbers to keys of its own, in every way, and reads them back."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys
        self.number = 0
        self.rounds = 0

    def check(self, values: list[Any]) -> None:
        for value in values:
            assert value is None or int(value) == self.number, f"{value} is not {self.number}"

    def run(self, client: CacheMesh, stop: threading.Event) -> None:
        while not stop.is_set():
            self.number += 1
            for key in self.keys:
                client.set(key, self.number)
                self.check([client.get(key)])
            self.number += 1
            client.mset(dict.fromkeys(self.keys, self.number))
            self.check(client.mget(self.keys))
            self.number += 1
            with client.pipeline() as made:
                pipe: Any = made
                for key in self.keys:
                    pipe.set(key, self.number).get(key)
                self.check(pipe.execute()[1::2])
            self.number += 1
            client.transaction(self.in_transaction, self.keys[0])
            self.check([client.get(self.keys[0])])
            client.delete(*self.keys)
            self.rounds += 1

    def in_transaction(self, pipe: Any) -> None:
        pipe.multi()
        pipe.set(self.keys[0], self.number)

    async def run_async(self, client: AsyncCacheMesh, stop: threading.Event) -> None:
        while not stop.is_set():
            self.number += 1
            for key in self.keys:
                await client.set(key, self.number)
                self.check([await client.get(key)])
            self.number += 1
            await client.mset(dict.fromkeys(self.keys, self.number))
            self.check(await client.mget(self.keys))
            self.number += 1
            async with client.pipeline() as made:
                pipe: Any = made
                for key in self.keys:
                    pipe.set(key, self.number).get(key)
                self.check((await pipe.execute())[1::2])
            await client.delete(*self.keys)
            self.rounds += 1


def cycles(
    pool: ResizablePool, core: Any, writers: list[Writer], crashed: Callable[[], Any]
) -> None:
    def went_on() -> None:
        rounds = [writer.rounds for writer in writers]
        until(lambda: crashed() or all(w.rounds > n for w, n in zip(writers, rounds, strict=True)))
        assert not crashed(), [str(each) for each in crashed()]

    for _ in range(CYCLES):
        went_on()
        resize(pool, core, pool.small, pool.large)
        went_on()
        version = pool.write(pool.large, pool.small)
        until(lambda: core.membership.topology().document.version == version)  # noqa: B023
        pool.write(pool.large)  # a step back
        went_on()
        resize(pool, core, pool.large, pool.small)


def test_threads_never_run_at_a_former_owner(pool: ResizablePool) -> None:
    stop, errors = threading.Event(), list[BaseException]()
    writers = [Writer(KEYS[n::6]) for n in range(6)]
    with CacheMesh.from_url(pool.url, **PATIENT) as client:
        client.ping()

        def run(writer: Writer) -> None:
            try:
                writer.run(client, stop)
            except (redis.RedisError, AssertionError) as error:
                errors.append(error)

        threads = [threading.Thread(target=run, args=(writer,)) for writer in writers]
        for thread in threads:
            thread.start()
        try:
            cycles(pool, client._core, writers, lambda: errors)
        finally:
            stop.set()
            for thread in threads:
                thread.join(AT_MOST)
    assert not errors


def test_tasks_never_run_at_a_former_owner(pool: ResizablePool) -> None:
    stop = threading.Event()
    writers = [Writer(KEYS[n::6]) for n in range(6)]

    async def main() -> None:
        client = AsyncCacheMesh.from_url(pool.url, **PATIENT)
        await client.ping()
        tasks = [asyncio.create_task(writer.run_async(client, stop)) for writer in writers]

        def crashed() -> Any:
            return [task.exception() for task in tasks if task.done()]

        try:
            await asyncio.to_thread(cycles, pool, client._core, writers, crashed)
        finally:
            stop.set()
            await asyncio.wait(tasks)
            await client.aclose()
        assert [task.exception() for task in tasks] == [None] * len(tasks)

    asyncio.run(main())


def is_held(thread: threading.Thread) -> bool:
    """Return whether a thread waits for the end of a hold."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and frame.f_code.co_name != "hold_over":
        frame = frame.f_back
    return frame is not None


def test_only_keys_that_move_are_held(pool: ResizablePool) -> None:
    keys = moving(pool.small, pool.large)
    staying = next(key for key in KEYS if key not in keys)
    with CacheMesh.from_url(pool.url, **PATIENT) as client:
        client.set(keys[0], "before")
        pool.write(pool.small, pool.large)
        until(lambda: client._core.holds)
        assert client.set(staying, "x")
        assert client.mget(staying, staying) == [b"x", b"x"]
        assert client.dbsize() == 2
        found = list[Any]()
        pipe: Any = client.pipeline()
        calls: list[Callable[[], Any]] = [
            lambda: client.get(keys[0]),
            lambda: client.mget(staying, keys[0])[1],
            lambda: pipe.get(staying).get(keys[0]).execute()[1],
            lambda: client.eval("return redis.call('GET', KEYS[1])", 1, keys[0]),
        ]

        def note(call: Callable[[], Any]) -> None:
            found.append(call())

        threads = [threading.Thread(target=note, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        until(lambda: all(is_held(thread) for thread in threads))
        assert found == []
        pool.write(pool.small)  # stepped back
        for thread in threads:
            thread.join(AT_MOST)
        assert found == [b"before"] * len(calls)


def test_a_resize_that_does_not_go_on_is_an_error_in_time(pool: ResizablePool) -> None:
    key = moving(pool.small, pool.large)[0]
    with CacheMesh.from_url(pool.url, command_timeout=0.3) as client:
        client.ping()
        pool.write(pool.small, pool.large)
        until(lambda: client._core.holds)
        with pytest.raises(ShardTimeoutError, match=r"'cache' is being resized.*was not sent"):
            client.set(key, "x")
        version = pool.write(pool.large)
        until(lambda: client.topology.document.version == version)
        assert client.set(key, "x")


def test_a_watched_key_that_moves_fails_the_transaction(pool: ResizablePool) -> None:
    key = moving(pool.small, pool.large)[0]
    with CacheMesh.from_url(pool.url, **PATIENT) as client:
        pipe: Any = client.pipeline()
        pipe.watch(key)
        pool.write(pool.small, pool.large)
        until(lambda: client._core.holds)
        assert not client._core.drained()
        pipe.multi()
        pipe.set(key, "x")
        with pytest.raises(redis.WatchError):
            pipe.execute()
        until(client._core.drained)
        pool.write(pool.large)
        assert client.get(key) is None


def test_a_watched_key_that_moves_guards_keys_that_stay(pool: ResizablePool) -> None:
    key = moving(pool.small, pool.large)[0]
    home = pool.small.shard_for(key)
    staying = next(k for k in KEYS if pool.large.shard_for(k) == pool.small.shard_for(k) == home)
    with CacheMesh.from_url(pool.url, **PATIENT) as client:
        pipe: Any = client.pipeline()
        pipe.watch(key)
        pool.write(pool.small, pool.large)
        until(lambda: client._core.holds)
        pipe.multi()
        pipe.set(staying, "x")
        with pytest.raises(redis.WatchError, match="watch the keys anew"):
            pipe.execute()
        until(client._core.drained)
        pool.write(pool.large)
        assert client.get(staying) is None


def test_an_unknown_placement_is_left_only_once_nothing_is_under_way(pool: ResizablePool) -> None:
    """The store was replaced: its shards are others than those that the client acts on."""
    last = pool.large.names[-1]
    key = next(key for key in KEYS if pool.large.shard_for(key) == last)
    with CacheMesh.from_url(pool.url, **PATIENT) as client:
        version = pool.write(pool.large)
        until(lambda: client.topology.document.version == version)
        pipe: Any = client.pipeline()
        pipe.watch(key)
        pool.write(pool.small, SlotsPlacement.even([Shard("nobody")]))
        until(lambda: client._core.holds)
        assert not client._core.drained()
        pipe.reset()
        until(client._core.drained)
        version = pool.write(pool.small)
        until(lambda: client.topology.document.version == version)
        assert client.set(key, "x")


@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_a_command_that_blocks_goes_to_the_new_owner(pool: ResizablePool, kind: str) -> None:
    key = moving(pool.small, pool.large)[0]
    popped = list[Any]()

    async def pop() -> None:
        async with AsyncCacheMesh.from_url(pool.url) as other:
            popped.append(await other.blpop([key], timeout=0))

    with CacheMesh.from_url(pool.url) as client:
        client.ping()
        if kind == "threads":
            body: Callable[[], Any] = lambda: popped.append(client.blpop([key], timeout=0))  # noqa: E731
        else:
            body = lambda: asyncio.run(pop())  # noqa: E731
        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        host, port = pool.masters[pool.small.shard_for(key)]
        with redis.Redis(host, port) as source:
            until(lambda: source.info("clients")["blocked_clients"] == 1)
        version = pool.write(pool.small, pool.large)
        until(lambda: acknowledged(client._core) == version)
        version = pool.write(pool.large)
        until(lambda: client.topology.document.version == version)
        client.rpush(key, "element")
        thread.join(AT_MOST)
        assert popped == [(key.encode(), b"element")]
