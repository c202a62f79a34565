"""A client process that reads and writes keys of the pool.

``python -m benchmarks.migration.writer URL KIND KEYS PAUSE``, with the token in CACHEMESH_TOKEN.
KIND is sync or asyncio, PAUSE the seconds between two calls; with 0 it calls as fast as it can. It
goes on until standard input ends, and then prints a line of JSON: when each call began, in seconds
since the epoch, and how many seconds it took; and the errors by class.
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

import redis

from cachemesh import CacheMesh, CacheMeshError
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh

_TASKS = 4  # of an asyncio client; a sync one has one thread


class Calls:
    """What was called, and how long it took."""

    def __init__(self, keys: int, pause: float) -> None:
        self._keys, self._random = keys, random.Random()
        self.pause = pause
        self.took = array("d")
        self.errors = Counter[str]()

    def next_key(self) -> tuple[str, bool]:
        """Return the next key, and whether to write it."""
        return f"key:{self._random.randrange(self._keys)}", self._random.random() < 0.5

    def note(self, began: float, error: Exception | None = None) -> None:
        """Note a call that has ended."""
        self.took.extend((began, time.time() - began))
        if error is not None:
            self.errors[type(error).__name__] += 1


def run(url: str, token: str | None, calls: Calls, stop: threading.Event) -> None:
    """Make calls until it is time to stop."""
    with CacheMesh.from_url(url, token=token) as client:
        while not stop.is_set():
            key, writes = calls.next_key()
            began, failed = time.time(), None
            try:
                if writes:
                    client.set(key, "written")
                else:
                    client.get(key)
            except (redis.RedisError, CacheMeshError) as error:
                failed = error
            calls.note(began, failed)
            if calls.pause:
                stop.wait(calls.pause)


async def run_async(url: str, token: str | None, calls: Calls, stop: threading.Event) -> None:
    """Make calls until it is time to stop."""

    async def work(client: AsyncCacheMesh) -> None:
        while not stop.is_set():
            key, writes = calls.next_key()
            began, failed = time.time(), None
            try:
                await (client.set(key, "written") if writes else client.get(key))
            except (redis.RedisError, CacheMeshError) as error:
                failed = error
            calls.note(began, failed)
            if calls.pause:
                await asyncio.sleep(calls.pause)

    async with AsyncCacheMesh.from_url(url, token=token) as client:
        await asyncio.gather(*(work(client) for _ in range(_TASKS)))


def main(url: str, kind: str, keys: str, pause: str) -> None:
    """Run the process."""
    calls, stop = Calls(int(keys), float(pause)), threading.Event()

    def wait() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait, daemon=True).start()
    token = os.environ.get("CACHEMESH_TOKEN")
    if kind == "sync":
        run(url, token, calls, stop)
    else:
        asyncio.run(run_async(url, token, calls, stop))
    sys.stdout.write(json.dumps({"took": list(calls.took), "errors": calls.errors}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
