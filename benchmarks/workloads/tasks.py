"""Workloads of asyncio clients: each task waits for its reply; many tasks share a client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.peers import PeerClient
from benchmarks.workloads.base import PeerWorkload
from benchmarks.workloads.data import KIB, LARGE, SMALL, fresh, groups_in_turn, in_turn, mixed, some

Data = Mapping[str, bytes]
Work = Callable[[], Coroutine[Any, Any, Any]]

BASELINE = "redis-py-asyncio"
PEERS = (
    "floor-asyncio",
    BASELINE,
    "redis-py-asyncio-cluster",
    "valkey-glide",
    "valkey-glide-cluster",
    "coredis",
    "cachemesh-asyncio",
)
SHARDS = (BASELINE, "cachemesh-asyncio-1", "cachemesh-asyncio", "cachemesh-asyncio-16")


def gets(tasks: int, client: PeerClient, data: Data, calls: int) -> Work:
    get = client.get

    async def task(keys: Sequence[str]) -> None:
        for key in keys:
            await get(key)

    return _together(task, in_turn(data, calls), tasks)


def sets(tasks: int, client: PeerClient, data: Data, calls: int) -> Work:
    put = client.set

    async def task(keys: Sequence[str]) -> None:
        for key in keys:
            await put(key, data[key])

    return _together(task, in_turn(data, calls), tasks)


def mixture(tasks: int, client: PeerClient, data: Data, calls: int) -> Work:
    get, put = client.get, client.set

    async def task(accesses: Sequence[tuple[bool, str]]) -> None:
        for writes, key in accesses:
            if writes:
                await put(key, data[key])
            else:
                await get(key)

    return _together(task, mixed(calls), tasks)


def mgets(tasks: int, size: int, client: PeerClient, data: Data, calls: int) -> Work:
    return _together(_each(client.mget), groups_in_turn(data, size, calls), tasks)


def pipelines(tasks: int, size: int, client: PeerClient, data: Data, calls: int) -> Work:
    return _together(_each(client.pipeline), groups_in_turn(data, size, calls), tasks)


def _each(call: Callable[[Any], Any]) -> Callable[[Sequence[Any]], Coroutine[Any, Any, None]]:
    async def task(arguments: Sequence[Any]) -> None:
        for argument in arguments:
            await call(argument)

    return task


def _together(
    task: Callable[[Sequence[Any]], Coroutine[Any, Any, None]], items: Sequence[Any], tasks: int
) -> Work:
    each = len(items) // tasks
    parts = [items[each * number : each * (number + 1)] for number in range(tasks)]

    async def work() -> None:
        await asyncio.gather(*(task(part) for part in parts))

    return work


async def check_gets(client: PeerClient, data: Data) -> None:
    for key, value in some(data).items():
        assert await client.get(key) == value, f"GET {key} answers wrongly"


async def check_sets(client: PeerClient, data: Data) -> None:
    for key, value in fresh(data).items():
        assert await client.get(key) is None, f"{key} is there already"
        await client.set(key, value)
        assert await client.get(key) == value, f"SET {key} did not store"


async def check_mgets(size: int, client: PeerClient, data: Data) -> None:
    await _check_groups(client.mget, size, data, "MGET")


async def check_pipelines(size: int, client: PeerClient, data: Data) -> None:
    await _check_groups(client.pipeline, size, data, "a pipeline of GET")


async def _check_groups(
    call: Callable[[Sequence[str]], Any], size: int, data: Data, what: str
) -> None:
    for keys in groups_in_turn(data, size, len(data) // size):
        assert list(await call(keys)) == [data[key] for key in keys], f"{what} answers wrongly"


def workloads() -> list[PeerWorkload]:
    """Return all workloads of this module."""
    made = [
        _workload(f"async-get-{tasks}", f"GET, {_tasks(tasks)}", tasks, gets, check_gets)
        for tasks in (1, 64, 256, 1024)
    ]
    made += [
        _workload("async-set-256", "SET, 256 tasks", 256, sets, check_sets),
        _workload("async-mixed-256", "80% GET, 20% SET, Zipf, 256 tasks", 256, mixture, check_gets),
    ]
    made += [
        _workload(
            f"async-mget-{size}",
            f"MGET of {size} keys, {tasks} tasks",
            tasks,
            _sized(mgets, size),
            partial(check_mgets, size),
        )
        # A cluster client makes hundreds of requests of the last; 16 tasks overrun valkey-glide.
        for size, tasks in ((10, 16), (100, 16), (1000, 4))
    ]
    made.append(
        _workload(
            "async-pipeline-100",
            "pipeline of 100 GET, 16 tasks",
            16,
            _sized(pipelines, 100),
            partial(check_pipelines, 100),
        )
    )
    for size, data, tasks in (("1k", KIB, 256), ("100k", LARGE, 64)):
        what = f"values of {size.replace('k', ' KiB')}, {tasks} tasks"
        made += [
            _workload(f"async-get-{size}", f"GET, {what}", tasks, gets, check_gets, data=data),
            _workload(f"async-set-{size}", f"SET, {what}", tasks, sets, check_sets, data=data),
        ]
    return made


def over_shards() -> list[PeerWorkload]:
    """Return the same work over 1, 4 and 16 shards."""
    over = "over 1, 4 and 16 shards"
    return [
        _workload(
            "shards-async-get-256",
            f"GET {over}, 256 tasks",
            256,
            gets,
            check_gets,
            entrants=SHARDS,
        ),
        _workload(
            "shards-async-mget-100",
            f"MGET of 100 keys {over}, 16 tasks",
            16,
            _sized(mgets, 100),
            partial(check_mgets, 100),
            entrants=SHARDS,
        ),
    ]


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"


def _sized(
    prepare: Callable[[int, int, PeerClient, Data, int], Work], size: int
) -> Callable[[int, PeerClient, Data, int], Work]:
    return lambda tasks, client, data, calls: prepare(tasks, size, client, data, calls)


def _workload(
    name: str,
    what: str,
    tasks: int,
    prepare: Callable[[int, PeerClient, Data, int], Work],
    check: Callable[[PeerClient, Data], Coroutine[Any, Any, None]],
    entrants: tuple[str, ...] = PEERS,
    data: Data = SMALL,
) -> PeerWorkload:
    return PeerWorkload(
        name,
        f"asyncio, {what}",
        entrants,
        data,
        partial(prepare, tasks),
        check,
        BASELINE,
        step=tasks,
    )
