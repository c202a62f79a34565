"""Workloads of blocking clients: each call waits for its reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any

from benchmarks.peers import PeerClient
from benchmarks.workloads.base import PeerWorkload
from benchmarks.workloads.data import KIB, LARGE, SMALL, fresh, groups_in_turn, in_turn, mixed, some

Data = Mapping[str, bytes]
Work = Callable[[], Any]

FLOOR = "floor"
BASELINE = "redis-py"
PEERS = (
    FLOOR,
    "floor-4",
    BASELINE,
    "redis-py-no-hiredis",
    "redis-py-cluster",
    "redis-py-nutcracker",
    "valkey-glide-sync",
    "valkey-glide-sync-cluster",
    "cachemesh",
)
SHARDS = (BASELINE, "cachemesh-1", "cachemesh", "cachemesh-16")


def gets(client: PeerClient, data: Data, calls: int) -> Work:
    keys, get = in_turn(data, calls), client.get

    def work() -> None:
        for key in keys:
            get(key)

    return work


def sets(client: PeerClient, data: Data, calls: int) -> Work:
    keys, put = in_turn(data, calls), client.set

    def work() -> None:
        for key in keys:
            put(key, data[key])

    return work


def mixture(client: PeerClient, data: Data, calls: int) -> Work:
    accesses, get, put = mixed(calls), client.get, client.set

    def work() -> None:
        for writes, key in accesses:
            if writes:
                put(key, data[key])
            else:
                get(key)

    return work


def mgets(size: int, client: PeerClient, data: Data, calls: int) -> Work:
    return _grouped(client.mget, size, data, calls)


def pipelines(size: int, client: PeerClient, data: Data, calls: int) -> Work:
    return _grouped(client.pipeline, size, data, calls)


def _grouped(call: Callable[[Sequence[str]], Any], size: int, data: Data, calls: int) -> Work:
    groups = groups_in_turn(data, size, calls)

    def work() -> None:
        for keys in groups:
            call(keys)

    return work


def threaded(threads: int, client: PeerClient, data: Data, calls: int) -> Work:
    """Prepare GETs from several threads at once, which start before the measurement does."""
    each = calls // threads
    clients = client.for_threads(threads) if client.for_threads else [client] * threads
    start = Barrier(threads + 1)

    def run(mine: PeerClient) -> None:
        work = gets(mine, data, each)
        start.wait()
        work()

    pool = ThreadPoolExecutor(threads)
    running = [pool.submit(run, mine) for mine in clients]
    pool.shutdown(wait=False)  # none is submitted any more; they end with their work

    def work() -> None:
        start.wait()
        for future in running:
            future.result()

    return work


def check_gets(client: PeerClient, data: Data) -> None:
    for key, value in some(data).items():
        assert client.get(key) == value, f"GET {key} answers wrongly"


def check_sets(client: PeerClient, data: Data) -> None:
    for key, value in fresh(data).items():
        assert client.get(key) is None, f"{key} is there already"
        client.set(key, value)
        assert client.get(key) == value, f"SET {key} did not store"


def check_mgets(size: int, client: PeerClient, data: Data) -> None:
    _check_groups(client.mget, size, data, "MGET")


def check_pipelines(size: int, client: PeerClient, data: Data) -> None:
    _check_groups(client.pipeline, size, data, "a pipeline of GET")


def _check_groups(call: Callable[[Sequence[str]], Any], size: int, data: Data, what: str) -> None:
    for keys in groups_in_turn(data, size, len(data) // size):
        assert list(call(keys)) == [data[key] for key in keys], f"{what} answers wrongly"


def workloads() -> list[PeerWorkload]:
    """Return all workloads, cheapest first."""
    made = [
        _workload("get", "GET, 1 thread", gets, check_gets, floor=FLOOR),
        _workload("set", "SET, 1 thread", sets, check_sets, floor=FLOOR),
        _workload("mixed", "80% GET, 20% SET, Zipf, 1 thread", mixture, check_gets, floor=FLOOR),
    ]
    made += [
        _workload(
            f"mget-{size}",
            f"MGET of {size} keys, 1 thread",
            partial(mgets, size),
            partial(check_mgets, size),
        )
        for size in (10, 100, 1000)
    ]
    made.append(
        _workload(
            "pipeline-100",
            "pipeline of 100 GET, 1 thread",
            partial(pipelines, 100),
            partial(check_pipelines, 100),
        )
    )
    made += [
        _workload(
            f"get-{threads}-threads",
            f"GET, {threads} threads",
            partial(threaded, threads),
            check_gets,
            step=threads,
        )
        for threads in (8, 32)
    ]
    for size, data in (("1k", KIB), ("100k", LARGE)):
        what = f"values of {size.replace('k', ' KiB')}, 1 thread"
        made += [
            _workload(f"get-{size}", f"GET, {what}", gets, check_gets, data=data, floor=FLOOR),
            _workload(f"set-{size}", f"SET, {what}", sets, check_sets, data=data, floor=FLOOR),
        ]
    return made


def over_shards() -> list[PeerWorkload]:
    """Return the same work over 1, 4 and 16 shards."""
    over = "over 1, 4 and 16 shards, 1 thread"
    hundred = partial(mgets, 100), partial(check_mgets, 100)
    pipelined = partial(pipelines, 100), partial(check_pipelines, 100)
    return [
        _workload("shards-get", f"GET {over}", gets, check_gets, entrants=SHARDS),
        _workload("shards-mget-100", f"MGET of 100 keys {over}", *hundred, entrants=SHARDS),
        _workload(
            "shards-pipeline-100", f"pipeline of 100 GET {over}", *pipelined, entrants=SHARDS
        ),
    ]


def _workload(
    name: str,
    what: str,
    prepare: Callable[[PeerClient, Data, int], Work],
    check: Callable[[PeerClient, Data], None],
    entrants: tuple[str, ...] = PEERS,
    data: Data = SMALL,
    floor: str | None = None,
    step: int = 1,
) -> PeerWorkload:
    return PeerWorkload(name, what, entrants, data, prepare, check, BASELINE, floor, step)
