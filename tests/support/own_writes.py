"""Writers that read their own writes back, through every way to send a write."""

from __future__ import annotations

import inspect
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.support.both_clients import Caller


@dataclass
class OwnWriteCheck:
    """Writers that check that each of their reads sees their own last write.

    Each value holds the number of its write, so that a read of an older one shows.

    Attributes:
        call: how the client is called.
        mesh: the client.
        stale: descriptions of reads that returned an older value than the master holds.
        lost: descriptions of such reads where the master holds no newer value either.
        failed: exceptions of reads and writes.
        done: way to write -> reads that returned the newest value.
        tolerated: exceptions that go to `failed`; others end the writer.
    """

    call: Caller
    mesh: Any
    stale: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    failed: list[Exception] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    ended: threading.Event = field(default_factory=threading.Event)
    tolerated: tuple[type[Exception], ...] = ()

    def start(self, name: str, ways: Sequence[str], threads: int = 2) -> None:
        """Start threads that write in each of these ways, which are keys of `WRITES`."""
        self._threads = [
            threading.Thread(target=self._work, args=(f"{name}{number}", ways))
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop the threads."""
        self.ended.set()
        for thread in self._threads:
            thread.join()

    def _work(self, name: str, ways: Sequence[str]) -> None:
        chance = random.Random(name)
        keys = [f"{name}-{number}" for number in range(8)]
        acknowledged = dict.fromkeys(keys, 0)
        number = 0
        while not self.ended.is_set():
            number += 1
            way = ways[number % len(ways)]
            some = chance.sample(keys, 3 if way in ("mset", "pipeline") else 1)
            try:
                self.call.on(self.mesh, partial(_write, way, some, number))
            except self.tolerated as error:
                self.failed.append(error)
                acknowledged.update((key, -1) for key in some)  # nobody knows
                continue
            acknowledged.update((key, number) for key in some)
            for _ in range(2):
                self._read(chance.sample(keys, 4), acknowledged, way)

    def _read(self, keys: Sequence[str], acknowledged: dict[str, int], way: str) -> None:
        try:
            values = self.call.on(self.mesh, lambda mesh: mesh.mget(keys))
            values[0] = self.call.on(self.mesh, lambda mesh: mesh.get(keys[0]))
        except self.tolerated as error:
            self.failed.append(error)
            return
        for key, value in zip(keys, values, strict=True):
            wanted, got = acknowledged[key], int(value or 0)
            if got >= wanted:
                self.done[way] += 1
                continue
            there = self._on_master(key)
            story = f"{key} after {way}: {got}, not {wanted}; the master has {there}"
            (self.lost if there < wanted else self.stale).append(story)
            acknowledged[key] = there

    def _on_master(self, key: str) -> int:
        masters = self.call.mesh.with_options(read_from="master")
        while True:
            try:
                return int(self.call.on(masters, lambda mesh: mesh.get(key)) or 0)
            except self.tolerated:
                continue


def _each(keys: Sequence[str], value: int) -> dict[str, int]:
    return dict.fromkeys(keys, value)


def _pipelined(mesh: Any, keys: Sequence[str], value: int) -> Any:
    pipe = mesh.pipeline(transaction=False)
    for key in keys:
        pipe.set(key, value)
    return pipe.execute()


def _multi(mesh: Any, keys: Sequence[str], value: int) -> Any:
    return mesh.pipeline(transaction=True).set(keys[0], value).execute()


def _watched(mesh: Any, keys: Sequence[str], value: int) -> Any:
    """Return a call of WATCH, a read, and a write in MULTI."""
    key = keys[0]
    if not inspect.iscoroutinefunction(mesh.execute_command):
        with mesh.pipeline() as pipe:
            pipe.watch(key)
            pipe.get(key)
            pipe.multi()
            pipe.set(key, value)
            return pipe.execute()

    async def run() -> Any:
        async with mesh.pipeline() as pipe:
            await pipe.watch(key)
            await pipe.get(key)
            pipe.multi()
            pipe.set(key, value)
            return await pipe.execute()

    return run()


def _while_watching(mesh: Any, keys: Sequence[str], value: int) -> Any:
    """Return a call that writes on the watching connection, without MULTI."""
    key = keys[0]
    if not inspect.iscoroutinefunction(mesh.execute_command):
        with mesh.pipeline() as pipe:
            pipe.watch(f"{{{key}}}other")
            return pipe.set(key, value)

    async def run() -> Any:
        async with mesh.pipeline() as pipe:
            await pipe.watch(f"{{{key}}}other")
            return await pipe.set(key, value)

    return run()


def _blocking(mesh: Any, keys: Sequence[str], value: int) -> Any:
    """Return a call of a script that writes the key, and then of BLPOP on a list beside it."""
    key = keys[0]
    script = """
        redis.call('DEL', KEYS[2])
        redis.call('RPUSH', KEYS[2], ARGV[1])
        return redis.call('SET', KEYS[1], ARGV[1])"""

    if not inspect.iscoroutinefunction(mesh.execute_command):
        mesh.eval(script, 2, key, f"{{{key}}}list", value)
        return mesh.blpop([f"{{{key}}}list"], timeout=1)

    async def run() -> Any:
        await mesh.eval(script, 2, key, f"{{{key}}}list", value)
        return await mesh.blpop([f"{{{key}}}list"], timeout=1)

    return run()


def _write(way: str, keys: Sequence[str], value: int, mesh: Any) -> Any:
    return WRITES[way](mesh, keys, value)


WRITES: dict[str, Callable[[Any, Sequence[str], int], Any]] = {
    "set": lambda mesh, keys, value: mesh.set(keys[0], value),
    "mset": lambda mesh, keys, value: mesh.mset(_each(keys, value)),
    "pipeline": _pipelined,
    "multi": _multi,
    "watch": _watched,
    "watching": _while_watching,
    "eval": lambda mesh, keys, value: mesh.eval(
        "return redis.call('SET', KEYS[1], ARGV[1])", 1, keys[0], value
    ),
    "blocking": _blocking,
}
