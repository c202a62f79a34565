"""A client process while keys move: workers that know what each of their keys has to be.

``python -m tests.support.move_client URL KIND WORKERS NAME``, with the token in CACHEMESH_TOKEN,
goes on until its standard input ends, and then prints a line of JSON. KIND is sync or asyncio. Each
worker has keys of all types (`tests.support.typed_keys`). A line on standard input is answered by
one with the number of calls so far.
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
from typing import Any, cast

import redis

from cachemesh import CacheMesh, CacheMeshError
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from tests.support.typed_keys import KINDS, Kind, Step, WrongReplyError
from tests.support.waiting import PATIENT

KEYS = int(os.environ.get("MOVE_CLIENT_KEYS", "20"))  # of each kind and worker
LARGE = "CHAOS_KEYS" in os.environ
PAUSE = float(os.environ.get("MOVE_CLIENT_PAUSE", "0.002" if LARGE else "0.02"))
"""Seconds between two calls; a small run leaves the machine to the tests beside it."""
TOKEN = os.environ.get("CACHEMESH_TOKEN")
LIMITS = {} if LARGE else PATIENT
"""The usual time limits, where a large run has the machine to itself."""
_EXAMPLES = 5


class Worker:
    """One thread or task.

    Attributes:
        calls: how often each was made.
        errors: by class.
        wrong: by what is wrong.
        examples: the first ones, in words.
        took: when each call began, and its seconds.
    """

    def __init__(self, name: str) -> None:
        rnd = random.Random(name)
        self._rnd = rnd
        self._kinds = [kind(name, KEYS, rnd) for kind in KINDS]
        self._weights = [len(kind.calls) for kind in self._kinds]  # each call is as likely
        self._unsure: list[Kind] = []
        self.calls = Counter[str]()
        self.errors = Counter[str]()
        self.wrong = Counter[str]()
        self.examples: list[str] = []
        self.took = array("d")
        self._kind = self._kinds[0]
        self._began = 0.0

    def next(self) -> Step:
        """Return the next call."""
        if self._unsure:
            self._kind = self._unsure[-1]
            step = self._kind.restart()
        else:
            (self._kind,) = self._rnd.choices(self._kinds, self._weights)
            step = self._kind.step()
        self._began = time.time()
        return step

    def note(self, step: Step, reply: Any) -> None:
        """Judge the reply to a call, or the error in its place."""
        name, _, took = step
        self.calls[name] += 1
        self.took.extend((self._began, time.time() - self._began))
        if isinstance(reply, Exception):
            self.errors[type(reply).__name__] += 1
            self._tell(f"{name}: {type(reply).__name__}: {reply}")
            if self._kind not in self._unsure:
                self._unsure.append(self._kind)
            return
        try:
            took(reply)
        except WrongReplyError as error:
            self.wrong[error.kind] += 1
            self._tell(f"{name}: {error}")
            if self._kind not in self._unsure:
                self._unsure.append(self._kind)  # one thing that is wrong counts once
            return
        if name == "restart":
            self._unsure.remove(self._kind)

    def _tell(self, text: str) -> None:
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"{time.time():.3f} {text}")


def run(worker: Worker, client: CacheMesh, stop: threading.Event) -> None:
    """Make calls until it is time to stop; the body of a thread."""
    while not stop.wait(PAUSE):
        step = worker.next()
        try:
            reply = step[1](client)
        except (redis.RedisError, CacheMeshError) as error:
            reply = error
        worker.note(step, reply)


async def run_async(worker: Worker, client: AsyncCacheMesh, stop: threading.Event) -> None:
    """Make calls until it is time to stop; the body of a task."""
    while not stop.is_set():
        step = worker.next()
        try:
            reply = await step[1](client)
        except (redis.RedisError, CacheMeshError) as error:
            reply = error
        worker.note(step, reply)
        await asyncio.sleep(PAUSE)


def _answer_lines(workers: list[Worker]) -> None:
    for _ in sys.stdin:
        sys.stdout.write(f"{sum(sum(worker.calls.values()) for worker in workers)}\n")
        sys.stdout.flush()


def _threads(url: str, workers: list[Worker]) -> None:
    stop = threading.Event()
    with CacheMesh.from_url(url, token=TOKEN, **LIMITS) as client:
        threads = [threading.Thread(target=run, args=(each, client, stop)) for each in workers]
        for thread in threads:
            thread.start()
        _answer_lines(workers)
        stop.set()
        for thread in threads:
            thread.join()


async def _tasks(url: str, workers: list[Worker]) -> None:
    stop = threading.Event()
    async with AsyncCacheMesh.from_url(url, token=TOKEN, **LIMITS) as client:
        tasks = [asyncio.create_task(run_async(worker, client, stop)) for worker in workers]
        await asyncio.to_thread(_answer_lines, workers)
        stop.set()
        await asyncio.gather(*tasks)


def main(url: str, kind: str, count: str, name: str) -> None:
    """Run the process."""
    workers = [Worker(f"{name}-{number}") for number in range(int(count))]
    if kind == "sync":
        _threads(url, workers)
    else:
        asyncio.run(_tasks(url, workers))
    found = {
        "calls": sum((worker.calls for worker in workers), Counter[str]()),
        "errors": sum((worker.errors for worker in workers), Counter[str]()),
        "wrong": sum((worker.wrong for worker in workers), Counter[str]()),
        "examples": [each for worker in workers for each in worker.examples],
        "took": [each for worker in workers for each in worker.took],
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*cast("tuple[str, str, str, str]", tuple(sys.argv[1:])))
