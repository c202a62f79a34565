"""``max_lag`` where all replicas are too far behind: what either kind of client reads then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import cachemesh
from tests.support.both_clients import CLIENTS, Caller, Driven, calling
from tests.support.plain_redis import direct
from tests.support.replicated_stack import Replicated, replicated
from tests.support.waiting import until

both = pytest.mark.parametrize("kind", CLIENTS)
MAX_LAG = 0.3  # seconds

Read = Callable[[Driven, str, str], Any]
"""A client and a key of each shard -> what it reads."""


@pytest.fixture(scope="module")
def site() -> Iterator[Replicated]:
    """Replicas hear nothing from their masters any more, and hold what is old."""
    with replicated() as found:
        for name, (master, replicas) in found.shards.items():
            (key,) = found.keys(name)
            with direct(master) as client:
                client.set(key, "old")
                client.hset(f"{{{key}}}hash", "f", "old")
                client.wait(len(replicas), 60_000)
                client.acl_setuser("default", True, commands=["-psync", "-sync"], nopass=True)
                client.client_kill_filter(_type="replica")
                until(partial(is_alone, client))
                client.set(key, "new, which is longer")
                client.hset(f"{{{key}}}hash", "f", "new")
        yield found


def is_alone(client: Any) -> bool:
    return bool(client.info("replication")["connected_slaves"] == 0)


OLD, NEW = b"old", b"new, which is longer"
READS: dict[str, tuple[Read, Any, Any, Any]] = {
    "GET": (lambda use, a, b: use.get(a), OLD, NEW, None),
    "in lower case": (lambda use, a, b: use.execute_command("strlen", b), 3, 20, 0),
    "MGET": (lambda use, a, b: use.mget(b, a), [OLD] * 2, [NEW] * 2, [None] * 2),
    "one of the shard": (
        lambda use, a, b: use.hgetall(f"{{{a}}}hash"),
        *(
            {b"f": b"old"},
            {b"f": b"new"},
            {},
        ),
    ),
}
"""How to read; what replicas say, what masters say, and what is a miss."""


def piped(transaction: bool | None, use: Driven, a: str, b: str) -> Any:
    pipe = use.it.pipeline(transaction=transaction).get(a)
    return use._caller.drive(pipe if transaction else pipe.get(b)).execute()


def scanned(use: Driven, a: str, b: str) -> Any:
    return use.hscan(f"{{{a}}}hash")[1]


OF_MASTERS: dict[str, tuple[Read, Any]] = {
    "a pipeline": (partial(piped, False), [NEW] * 2),
    "a MULTI for each shard": (partial(piped, None), [NEW] * 2),
    "a transaction": (partial(piped, True), [NEW]),
    "HSCAN": (scanned, {b"f": b"new"}),
}


def keys(site: Replicated) -> tuple[str, str]:
    (one,), (other,) = site.keys("cache-0"), site.keys("cache-1")
    return one, other


def reads(call: Caller, mesh: Any, site: Replicated) -> dict[str, Any]:
    use = call.drive(mesh)
    return {name: read(use, *keys(site)) for name, (read, *_) in READS.items()}


def said(which: int) -> dict[str, Any]:
    return {name: of[which] for name, of in READS.items()}


def given(way: str, site: Replicated, directory: Path, mode: str) -> tuple[str, dict[str, Any]]:
    """URL and options of a client for which the bound stands in one of four places."""
    if way == "the pool":
        return site.document(directory, read_from=mode, max_lag=MAX_LAG), {}
    if way == "the URL":
        return f"{site.document(directory)}?read_from={mode}&max_lag={MAX_LAG}", {}
    return site.url, {"read_from": mode} | ({"max_lag": MAX_LAG} if way == "an option" else {})


@both
@pytest.mark.parametrize("mode", ["prefer_replica", "weighted"])
@pytest.mark.parametrize("way", ["an option", "a view", "the URL", "the pool"])
def test_the_master_is_read_from(
    site: Replicated, way: str, mode: str, kind: str, tmp_path: Path
) -> None:
    url, options = given(way, site, tmp_path, mode)
    with calling(kind, url, **options) as call:
        mesh = call.mesh.with_options(max_lag=MAX_LAG) if way == "a view" else call.mesh
        until(lambda: reads(call, mesh, site) == said(2))
        for _ in range(5):  # by another instance each, were they asked
            assert reads(call, mesh, site) == said(2)


@both
def test_without_a_bound_replicas_are_read_from(site: Replicated, kind: str) -> None:
    with calling(kind, site.url, read_from="replica") as call:
        assert reads(call, call.mesh, site) == said(1)
        prefers = call.mesh.with_options(read_from="prefer_replica")
        assert reads(call, prefers, site) == said(1)
        bound = prefers.with_options(max_lag=MAX_LAG)
        until(lambda: reads(call, bound, site) == said(2))
        assert reads(call, prefers, site) == said(1), "the bound is of that view alone"


@both
def test_replicas_alone_give_an_error_or_a_miss(site: Replicated, kind: str) -> None:
    options: dict[str, Any] = {"read_from": "replica", "max_lag": MAX_LAG, "command_timeout": 0.3}
    with calling(kind, site.url, **options) as call:
        misses = call.mesh.with_options(on_error="miss")

        def came(name: str) -> tuple[Any, Any]:
            read = READS[name][0]
            try:
                raised = read(call.driven, *keys(site))
            except cachemesh.ShardUnavailableError as error:
                raised = error
            return raised, read(call.drive(misses), *keys(site))

        until(lambda: f"at most {MAX_LAG:g} s behind" in str(came("MGET")[0]))
        with ThreadPoolExecutor(len(READS)) as threads:
            for name, (error, missed) in zip(READS, threads.map(came, READS), strict=True):
                assert f"no replica is up, at most {MAX_LAG:g} s behind, and has" in str(error), (
                    name
                )
                assert missed == READS[name][3], name


@both
@pytest.mark.parametrize("mode", ["replica", "prefer_replica", "weighted"])
def test_what_is_the_masters_in_any_case(site: Replicated, mode: str, kind: str) -> None:
    with calling(kind, site.url, read_from=mode, max_lag=MAX_LAG) as call:
        for name, (read, expected) in OF_MASTERS.items():
            assert read(call.driven, *keys(site)) == expected, name
