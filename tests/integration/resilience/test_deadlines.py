"""``command_timeout`` bounds what an app waits, whatever the server does."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import cachemesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.local import Process
from tests.support.both_clients import CLIENTS, calling
from tests.support.movable_pool import MovablePool, reset
from tests.support.plain_redis import Target, target
from tests.support.rogue_server import Trickler, full_backlog, silent
from tests.support.waiting import in_time

LIMIT = 0.3
SHARDS = tuple(f"cache-{number}" for number in range(4))
BIG = b"x" * 20_000_000

Use = Callable[[Any, list[str]], Any]


def pipelined(transaction: bool | None, count: int) -> Use:
    def use(mesh: Any, keys: list[str]) -> Any:
        pipe = mesh.pipeline(transaction=transaction)
        for key in keys[:count]:
            pipe.set(key, 1)
        return pipe.execute()

    return use


USES: dict[str, Use] = {
    "GET": lambda mesh, keys: mesh.get(keys[0]),
    "SET": lambda mesh, keys: mesh.set(keys[0], 1),
    "a large SET": lambda mesh, keys: mesh.set(keys[0], BIG),
    "MGET": lambda mesh, keys: mesh.mget(keys),
    "MSET": lambda mesh, keys: mesh.mset(dict.fromkeys(keys, 1)),
    "DBSIZE": lambda mesh, keys: mesh.dbsize(),
    "a pipeline": pipelined(False, 4),
    "a MULTI for each shard": pipelined(None, 4),
    "a transaction": pipelined(True, 1),
}


@pytest.fixture(scope="module")
def traps() -> Iterator[dict[str, Target]]:
    """Addresses at which nothing useful is said."""
    with ExitStack() as stack:
        yield {
            "a full backlog": stack.enter_context(full_backlog()),
            "silence": stack.enter_context(silent()).address,
            "a trickle": stack.enter_context(Trickler(LIMIT / 3)).address,
        }


def check(kind: str, site: MovablePool, use: Use, limit: float = LIMIT) -> None:
    with calling(kind, site.url, command_timeout=LIMIT) as caller:
        caller(lambda mesh: mesh.load() if kind == "asyncio" else mesh.topology)
        keys = [site.keys(shard)[0] for shard in SHARDS]
        came, seconds = caller.timed(lambda mesh: use(mesh, keys))
        assert isinstance(came, cachemesh.ShardUnavailableError), came
        in_time(seconds, limit)


def run(use: Use, keys: list[str], mesh: Any) -> Any:
    return use(mesh, keys)


def mget(keys: list[str], mesh: Any) -> Any:
    return mesh.mget(keys)


def mset(mesh: Any, keys: list[str]) -> Any:
    return mesh.mset(dict.fromkeys(keys, "v"))


def at_each(traps: Iterable[Target], directory: Path, body: Callable[[MovablePool], None]) -> None:
    def one(trap: Target) -> None:
        with MovablePool(dict.fromkeys(SHARDS, trap), directory) as site:
            body(site)

    with ThreadPoolExecutor() as threads:
        list(threads.map(one, traps))


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", CLIENTS)
def test_a_peer_that_does_not_serve(
    kind: str, use: str, traps: dict[str, Target], tmp_path: Path
) -> None:
    at_each(traps.values(), tmp_path, lambda site: check(kind, site, USES[use]))


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_command_that_blocks_has_its_own_time_on_top(
    kind: str, traps: dict[str, Target], tmp_path: Path
) -> None:
    def block(mesh: Any, keys: list[str]) -> Any:
        return mesh.blpop(keys[:1], timeout=0.3)

    at_each(traps.values(), tmp_path, lambda site: check(kind, site, block, LIMIT + 0.3))


@pytest.mark.parametrize("kind", CLIENTS)
def test_watch(kind: str, traps: dict[str, Target], tmp_path: Path) -> None:
    def watch(mesh: Any, keys: list[str]) -> Any:
        return mesh.pipeline().watch(keys[0])

    dumb = [traps["a full backlog"], traps["silence"]]
    at_each(dumb, tmp_path, lambda site: check(kind, site, watch))


@pytest.mark.parametrize("kind", CLIENTS)
def test_servers_that_stop_after_they_have_served(
    kind: str, redises: list[Process], tmp_path: Path
) -> None:
    masters = {shard: target(redises[at % 2]) for at, shard in enumerate(SHARDS)}
    for name in ("SET", "a large SET", "MGET", "a MULTI for each shard", "a transaction"):
        with (
            MovablePool(masters, tmp_path) as site,
            calling(kind, site.url, command_timeout=LIMIT) as one,
        ):
            keys = [site.keys(shard)[0] for shard in SHARDS]
            one.warm(partial(mget, keys))
            for process in redises:
                process.pause()
            try:
                came, seconds = one.timed(partial(run, USES[name], keys))
            finally:
                for process in redises:
                    process.resume()
            assert isinstance(came, cachemesh.ShardTimeoutError), (name, came)
            in_time(seconds, LIMIT)


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_dead_shard_leaves_the_others_the_time_to_connect(
    kind: str, redises: list[Process], traps: dict[str, Target], tmp_path: Path
) -> None:
    for trap in ("a full backlog", "silence"):
        masters = {shard: target(redises[0]) for shard in SHARDS} | {"cache-0": traps[trap]}
        with MovablePool(masters, tmp_path) as site:
            keys = [site.keys(shard)[0] for shard in SHARDS]
            # Enough for the others to connect on a machine that is slow.
            options: dict[str, Any] = {"command_timeout": 3 * LIMIT, "on_error": "miss"}
            with calling(kind, site.url, decode_responses=True, **options) as caller:
                _, seconds = caller.timed(partial(run, mset, keys))
                in_time(seconds, 3 * LIMIT)
                assert caller(partial(mget, keys)) == [None, "v", "v", "v"]


@pytest.mark.parametrize("kind", CLIENTS)
def test_all_that_wait_at_once(kind: str, redises: list[Process], tmp_path: Path) -> None:
    master = redises[0]
    reset(master)
    with (
        MovablePool({"cache-0": target(master)}, tmp_path) as site,
        calling(kind, site.url, command_timeout=LIMIT) as caller,
    ):
        caller.warm(lambda mesh: mesh.set("k", "v"))
        master.pause()
        try:
            came: list[Any] = []
            many = [
                threading.Thread(target=lambda: came.append(caller.timed(lambda m: m.incr("n"))[0]))
                for _ in range(50)
            ]
            began = time.monotonic()
            for thread in many:
                thread.start()
            for thread in many:
                thread.join()
            in_time(time.monotonic() - began, LIMIT)  # one after the other they would take 15 s
        finally:
            master.resume()
        # A thread that a slow machine starts after three timeouts finds the breaker open.
        assert len(came) == 50
        assert all(isinstance(error, cachemesh.ShardUnavailableError) for error in came)
        assert sum(isinstance(error, cachemesh.ShardTimeoutError) for error in came) >= 3


def test_thousands_of_tasks_before_a_server_that_reads_nothing(
    redises: list[Process], tmp_path: Path
) -> None:
    master = redises[0]
    reset(master)

    async def main(site: MovablePool) -> list[Any]:
        async with AsyncCacheMesh.from_url(site.url, command_timeout=LIMIT) as mesh:
            while await mesh.with_options(on_error="miss").set("k", "v") is None:
                pass  # the limit may be too short for the first
            master.pause()
            began = time.monotonic()
            sets = (mesh.set(f"k{number}", b"x" * 4_000) for number in range(4_000))
            outcomes = await asyncio.gather(*sets, return_exceptions=True)
            in_time(time.monotonic() - began, 2.0)  # one after the other they would take 20 minutes
            return outcomes

    with MovablePool({"cache-0": target(master)}, tmp_path) as site:
        try:
            outcomes = asyncio.run(main(site))
        finally:
            master.resume()
        assert {type(error) for error in outcomes} <= {
            cachemesh.ShardTimeoutError,
            cachemesh.ShardUnavailableError,
        }
        cause = outcomes[-1].__cause__
        depth, trace = 0, cause.__traceback__
        while trace is not None:
            depth, trace = depth + 1, trace.tb_next
        assert depth < 20, "an error tells of one task, not of all"


@pytest.mark.parametrize("kind", CLIENTS)
def test_without_a_limit_a_command_may_take_its_time(
    kind: str, redises: list[Process], tmp_path: Path
) -> None:
    master = redises[0]
    reset(master)
    unlimited: dict[str, Any] = {"socket_timeout": None, "socket_connect_timeout": None}
    with (
        MovablePool({"cache-0": target(master)}, tmp_path) as site,
        calling(kind, site.url, **unlimited) as caller,
    ):
        threading.Timer(0.3, lambda: caller(lambda mesh: mesh.rpush("list", "v"))).start()
        assert caller(lambda mesh: mesh.blpop(["list"], timeout=0)) == (b"list", b"v")
