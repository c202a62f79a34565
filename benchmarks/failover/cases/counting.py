"""INCR across a stall: whether a write that may have been executed is sent again."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from benchmarks.failover.cases.base import BOTH, Case, CaseResult, CaseSettings
from benchmarks.failover.contenders import AsyncContender, Contender
from benchmarks.failover.load import APP_ERRORS
from benchmarks.failover.site import Site, direct, site

_STALL, _TIMEOUT = 3.0, 1.0


class Counting(Case):
    """Each writer increments a counter of its own once, while the master is paused."""

    name = "incr"
    what = f"INCR across a stall of {_STALL:g} s, client gives up after {_TIMEOUT:g} s: executed"
    bar = "at most once"
    contenders = (*BOTH, "redis-py-direct")

    def run(self, contender: Contender | AsyncContender, settings: CaseSettings) -> CaseResult:
        # Sentinel waits longer than the stall: the master stays, and its counters can be read.
        with site(1, replicas=0, down_after_ms=20_000) as here:
            tag = here.writers([1])[0].tag
            keys = [f"{{{tag}}}:count:{number}" for number in range(settings.writers)]
            if isinstance(contender, Contender):
                errors = _in_threads(contender, here, keys)
            else:
                errors = asyncio.run(_in_tasks(contender, here, keys))
            master = direct(here.stack.master_of(here.shards[0]))
            counts = [int(value or 0) for value in master.mget(keys)]
            master.close()
        most = max(counts)
        shown = {1: "once", 2: "twice"}.get(most, f"{most} times")
        return CaseResult(shown, most <= 1, {"executed": counts, "errors": errors})


def _in_threads(contender: Contender, here: Site, keys: list[str]) -> list[str]:
    shard = here.shards[0]
    client = contender.connect(here, socket_timeout=_TIMEOUT)
    errors: list[str] = []

    def one(key: str) -> None:
        try:
            client.call(shard, "INCR", key)
        except APP_ERRORS as error:
            errors.append(type(error).__name__)

    for _ in keys:
        client.call(shard, "GET", keys[0])
    process = here.stack.process(here.stack.master_of(shard))
    threads = [threading.Thread(target=one, args=(key,)) for key in keys]
    process.pause()
    resume = time.monotonic() + _STALL
    try:
        for thread in threads:
            thread.start()
        time.sleep(max(0.0, resume - time.monotonic()))
    finally:
        process.resume()
    for thread in threads:
        thread.join()
    client.close()
    return errors


async def _in_tasks(contender: AsyncContender, here: Site, keys: list[str]) -> list[str]:
    shard = here.shards[0]
    client: Any = await contender.connect(here, socket_timeout=_TIMEOUT)
    await asyncio.gather(*(client.call(shard, "GET", keys[0]) for _ in keys))
    process = here.stack.process(here.stack.master_of(shard))
    process.pause()
    try:
        tasks = [asyncio.ensure_future(client.call(shard, "INCR", key)) for key in keys]
        await asyncio.sleep(_STALL)
    finally:
        process.resume()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await client.close()
    unexpected = [e for e in results if isinstance(e, BaseException) and not _expected(e)]
    if unexpected:
        raise unexpected[0]
    return [type(error).__name__ for error in results if isinstance(error, BaseException)]


def _expected(error: BaseException) -> bool:
    return isinstance(error, APP_ERRORS)
