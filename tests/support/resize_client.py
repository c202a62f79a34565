"""A client process under resizes: two threads, or two tasks, that write, read and judge.

``python -m tests.support.resize_client URL KIND BOARD PROCESSES NUMBER``, with the token in
CACHEMESH_TOKEN, goes on until its standard input ends, and then prints a line of JSON. KIND is sync
or asyncio. Each worker writes keys of its own and reads those of all; a value that was read has to
be as new as what had been acknowledged, to whichever process, before the read began. No value is
right too: a resize drops keys.

Where a write ran, and when, is told by the server itself, if it was made by a script.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any, cast

import redis

from benchmarks.failover.values import claim_of, value_of
from cachemesh import CacheMesh, CacheMeshError
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from tests.support.resize_board import KEYS, Board, workers_of

PAUSE = float(os.environ.get("RESIZE_CLIENT_PAUSE", "0.02"))  # seconds between two rounds
READS = 3  # calls after each write
_VERSION_EVERY = 0.02  # seconds
_EXAMPLES = 5

_WHERE = """
    local port = redis.call('INFO', 'server'):match('tcp_port:(%d+)')
    local time = redis.call('TIME')
    return {port, time[1] * 1000000 + time[2]}"""
_SET_WHERE = f"redis.call('SET', KEYS[1], ARGV[1]){_WHERE}"

Ask = Callable[[Any], Any]
"""A call on a client; its result is awaited if that is an asyncio one."""


def _set(pairs: dict[str, str], client: Any) -> Any:
    ((key, value),) = pairs.items()
    return client.set(key, value)


def _delete(pairs: dict[str, str], client: Any) -> Any:
    return client.delete(*pairs)


def _mset(pairs: dict[str, str], client: Any) -> Any:
    return client.mset(pairs)


def _script(pairs: dict[str, str], client: Any) -> Any:
    ((key, value),) = pairs.items()
    return client.eval(_SET_WHERE, 1, key, value)


def _scripts(pairs: dict[str, str], client: Any) -> Any:
    pipe = client.pipeline(transaction=False)
    for key, value in pairs.items():
        pipe.eval(_SET_WHERE, 1, key, value)
    return pipe.execute()


def _transaction(pairs: dict[str, str], client: Any) -> Any:
    ((key, value),) = pairs.items()
    return client.pipeline(transaction=True).set(key, value).eval(_WHERE, 1, key).execute()


WRITES: dict[str, tuple[int, Callable[[dict[str, str], Any], Any]]] = {
    "set": (1, _set),
    "script": (1, _script),
    "transaction": (1, _transaction),
    "scripts in a pipeline": (3, _scripts),
    "mset": (3, _mset),
    "delete": (1, _delete),
}
"""How it is written -> how many keys, and the call."""


def _places(way: str, reply: Any) -> list[Any]:
    """Return port and time of each write, where the server has told them."""
    if way == "script":
        return [reply]
    if way == "scripts in a pipeline":
        return list(reply)
    return reply[1:] if way == "transaction" else []


class Worker:
    """One thread or task.

    Args:
        number: of the worker among those of all processes.

    Attributes:
        located: port, key, sequence number and microseconds since the epoch, of each write of which
            the server has told.
        errors: by class.
        ways: how often it has written so.
        examples: the first values that were wrong.
    """

    def __init__(self, board: Board, number: int) -> None:
        self.located = array("q")
        self.errors = Counter[str]()
        self.ways = Counter[str]()
        self.examples: list[str] = []
        self._board = board
        self._number = number
        self._own = range(number * KEYS, (number + 1) * KEYS)
        self._sequence = 0

    def steps(self, stopped: Callable[[], bool]) -> Generator[Ask | None, Any, None]:
        """Yield the calls to make; each is answered by its reply or its error. None is a pause."""
        while not stopped():
            yield from self._write(random.choice(list(WRITES)))
            for _ in range(READS):
                yield from self._read()
            self._board.count(self._number, "rounds")
            yield None

    def _write(self, way: str) -> Generator[Ask | None, Any, None]:
        count, write = WRITES[way]
        keys = random.sample(self._own, count)
        self._sequence += 1
        names = [self._board.names[key] for key in keys]
        pairs = {name: value_of(name, str(self._number), self._sequence) for name in names}
        reply = yield partial(write, pairs)
        if self._failed(reply):
            return
        self.ways[way] += 1
        deleted = way == "delete"
        for key in keys:
            self._board.acknowledge(key, self._sequence, deleted)
            self._board.count(self._number, "deletes" if deleted else "writes")
        for key, (port, at) in zip(keys, _places(way, reply), strict=False):
            self.located.extend((int(port), key, self._sequence, int(at)))

    def _read(self) -> Generator[Ask | None, Any, None]:
        names = self._board.names
        keys = random.sample(range(len(names)), random.choice((1, 4)))
        least = [self._board.acknowledged(key) for key in keys]
        asked = [names[key] for key in keys]
        if len(keys) == 1:
            reply = yield lambda client: client.get(asked[0])
            values = [reply]
        else:
            values = reply = yield lambda client: client.mget(asked)
        if self._failed(reply):
            return
        for key, floor, value in zip(keys, least, values, strict=True):
            self._judge(names[key], floor, value)

    def _judge(self, key: str, floor: int, value: bytes | None) -> None:
        self._board.count(self._number, "reads")
        if value is None:
            return
        self._board.count(self._number, "hits")
        claim = claim_of(value)
        if claim.key != key:
            kind = "wrong"
        elif claim.sequence >= floor // 2:
            return
        else:
            kind = "resurrected" if floor % 2 else "stale"
        self._board.count(self._number, kind)
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"{time.time():.3f} {kind}: {key} is {value!r}, floor {floor}")

    def _failed(self, reply: Any) -> bool:
        if not isinstance(reply, Exception):
            return False
        self._board.failed(self._number)
        self.errors[type(reply).__name__] += 1
        return True


def run(worker: Worker, client: CacheMesh, stop: threading.Event) -> None:
    """Make the calls of a worker; the body of a thread."""
    steps, reply = worker.steps(stop.is_set), None
    while not stop.is_set():
        try:
            ask = steps.send(reply)
        except StopIteration:
            return
        if ask is None:
            stop.wait(PAUSE)
            reply = None
            continue
        try:
            reply = ask(client)
        except (redis.RedisError, CacheMeshError) as error:
            reply = error


async def run_async(worker: Worker, client: AsyncCacheMesh, stop: threading.Event) -> None:
    """Make the calls of a worker; the body of a task."""
    steps, reply = worker.steps(stop.is_set), None
    while not stop.is_set():
        try:
            ask = steps.send(reply)
        except StopIteration:
            return
        if ask is None:
            await asyncio.sleep(PAUSE)
            reply = None
            continue
        try:
            reply = await ask(client)
        except (redis.RedisError, CacheMeshError) as error:
            reply = error


def tell_version(client: Any, board: Board, process: int, stop: threading.Event) -> None:
    """Tell which version the client acts on; the body of a thread."""
    while not stop.wait(_VERSION_EVERY):
        version = client._core.membership.acting_version
        if version is not None:
            board.acts_on(process, version)


def _threads(url: str, workers: list[Worker], board: Board, process: int) -> None:
    stop = threading.Event()
    with CacheMesh.from_url(url, token=os.environ["CACHEMESH_TOKEN"]) as client:
        bodies = [partial(run, worker, client, stop) for worker in workers]
        bodies.append(partial(tell_version, client, board, process, stop))
        threads = [threading.Thread(target=body) for body in bodies]
        for thread in threads:
            thread.start()
        sys.stdin.read()
        stop.set()
        for thread in threads:
            thread.join()


async def _tasks(url: str, workers: list[Worker], board: Board, process: int) -> None:
    stop = threading.Event()
    async with AsyncCacheMesh.from_url(url, token=os.environ["CACHEMESH_TOKEN"]) as client:
        teller = threading.Thread(target=tell_version, args=(client, board, process, stop))
        teller.start()
        tasks = [asyncio.create_task(run_async(worker, client, stop)) for worker in workers]
        await asyncio.to_thread(sys.stdin.read)
        stop.set()
        await asyncio.gather(*tasks)
        await asyncio.to_thread(teller.join)


def main(url: str, kind: str, path: str, processes: str, number: str) -> None:
    """Run the process."""
    board, process = Board(Path(path), int(processes)), int(number)
    workers = [Worker(board, each) for each in workers_of(process)]
    if kind == "sync":
        _threads(url, workers, board, process)
    else:
        asyncio.run(_tasks(url, workers, board, process))
    with Path(f"{path}.located-{number}").open("wb") as file:
        for worker in workers:
            worker.located.tofile(file)
    found = {
        "errors": sum((worker.errors for worker in workers), Counter[str]()),
        "ways": sum((worker.ways for worker in workers), Counter[str]()),
        "examples": [each for worker in workers for each in worker.examples],
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*cast("tuple[str, str, str, str, str]", tuple(sys.argv[1:])))
