"""A client that makes calls when it is told to, in a process of its own.

    python child.py URL

Reads lines ``KIND CALLS``, makes so many calls, and answers each line with the seconds of CPU that
the process took for them. Ends with its standard input. It imports nothing of the benchmarks, so
that PYTHONPATH decides whose client is measured.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import cachemesh
import cachemesh.asyncio

_KEYS = [f"key:{number}" for number in range(1000)]
_VALUE = b"v" * 100
_TASKS = 256
_TOKEN = {"token": os.environ["CACHEMESH_TOKEN"]} if "CACHEMESH_TOKEN" in os.environ else {}


def _blocking(url: str) -> dict[str, Callable[[int], Any]]:
    client = cachemesh.CacheMesh.from_url(url, **_TOKEN)
    for key in _KEYS:
        client.set(key, _VALUE)

    def get(calls: int) -> None:
        for number in range(calls):
            client.get(_KEYS[number % 1000])

    def set_(calls: int) -> None:
        for number in range(calls):
            client.set(_KEYS[number % 1000], _VALUE)

    def mget(calls: int) -> None:
        for _ in range(calls):
            client.mget(_KEYS[:100])

    def pipeline(calls: int) -> None:
        for _ in range(calls):
            pipe = client.pipeline(transaction=False)
            for key in _KEYS[:100]:
                pipe.get(key)
            pipe.execute()

    return {"get": get, "set": set_, "mget": mget, "pipeline": pipeline}


def _tasks(url: str, loop: asyncio.AbstractEventLoop) -> dict[str, Callable[[int], Any]]:
    client: Any = loop.run_until_complete(_made(url))

    async def gets(first: int, calls: int) -> None:
        for number in range(first, first + calls):
            await client.get(_KEYS[number % 1000])

    async def all_gets(calls: int) -> None:
        each = -(-calls // _TASKS)
        await asyncio.gather(*(gets(task, each) for task in range(_TASKS)))

    return {
        "asyncio-get": lambda calls: loop.run_until_complete(gets(0, calls)),
        "asyncio-get-256": lambda calls: loop.run_until_complete(all_gets(calls)),
    }


async def _made(url: str) -> Any:
    client = cachemesh.asyncio.CacheMesh.from_url(url, **_TOKEN)
    await client.get(_KEYS[0])
    return client


def main() -> None:
    """Make calls until standard input ends."""
    loop = asyncio.new_event_loop()
    kinds = {**_blocking(sys.argv[1]), **_tasks(sys.argv[1], loop)}
    for line in sys.stdin:
        kind, calls = line.split()
        began = time.process_time()
        kinds[kind](int(calls))
        sys.stdout.write(f"{time.process_time() - began}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
