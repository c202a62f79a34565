"""Reads from real replicas: who is asked, own writes, and what goes elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from operator import methodcaller
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import redis

from tests.support.both_clients import CLIENTS, Caller, calling
from tests.support.own_writes import WRITES, OwnWriteCheck
from tests.support.plain_redis import direct
from tests.support.replicated_stack import MODES, Replicated, await_lag_known, replicated
from tests.support.server_capabilities import needs_command
from tests.support.waiting import AT_MOST, in_time, until

both = pytest.mark.parametrize("kind", CLIENTS)


@pytest.fixture(scope="module")
def site() -> Iterator[Replicated]:
    with replicated() as found:
        yield found


@pytest.fixture(autouse=True)
def sound(site: Replicated) -> None:
    site.settle()


def reads_from(call: Caller, mode: str) -> bool:
    found: str = call.mesh._policy.reading.read_from
    return found == mode


def read_all(call: Caller, mesh: Any, keys: list[str], times: int = 5) -> None:
    for _ in range(times):
        for key in keys:
            assert call.on(mesh, methodcaller("get", key)) == b"v"
        assert call.on(mesh, lambda m: m.mget(keys)) == [b"v"] * len(keys)
        assert call.on(mesh, lambda m: m.exists(*keys)) == len(keys)


def shares(site: Replicated, call: Caller, mesh: Any, times: int = 12) -> dict[str, list[int]]:
    """How often each instance is read from; first by the master of each shard."""
    keys = site.keys("cache-0", 10) + site.keys("cache-1", 10)
    call(lambda m: m.mset(dict.fromkeys(keys, "v")))
    if mesh is not call.mesh:
        call.on(mesh, lambda m: m.get("k"))
    if call.mesh._core.reads_replicas:
        await_lag_known(call)
    site.reset_counts()
    read_all(call, mesh, keys, times)
    return site.counts("get", "mget", "exists")


def check(shares: dict[str, list[int]], mode: str) -> None:
    for master, *replicas in shares.values():
        total = master + sum(replicas)
        if mode == "master":
            assert replicas == [0, 0], shares
            assert master > 0, shares
            continue
        if mode == "weighted":  # how much depends on how fast they have been
            assert min(master, *replicas) > 0, shares
        else:
            assert master == 0, shares
            assert min(replicas) > total / 8, shares


@both
@pytest.mark.parametrize("mode", ["master", *MODES])
def test_who_is_read_from(site: Replicated, kind: str, mode: str) -> None:
    with calling(kind, site.url, read_from=mode) as call:
        check(shares(site, call, call.mesh), mode)
    with calling(kind, f"{site.url}?read_from={mode}&max_lag=30") as call:
        check(shares(site, call, call.mesh), mode)
    with calling(kind, site.url) as call:
        check(shares(site, call, call.mesh.with_options(read_from=mode)), mode)
        site.reset_counts()
        read_all(call, call.mesh, ["k0"])
        assert all(
            replicas == [0, 0] for _, *replicas in site.counts("get", "mget", "exists").values()
        )


@both
def test_a_setting_of_the_pool_changes_it_while_it_runs(
    site: Replicated, kind: str, tmp_path: Path
) -> None:
    url = site.document(tmp_path)
    with calling(kind, url) as call, calling(kind, url, read_from="master") as firm:
        firm(lambda mesh: mesh.get("k"))
        check(shares(site, call, call.mesh), "master")
        for version, mode in enumerate(("replica", "weighted", "master"), 2):
            site.document(tmp_path, version, read_from=mode)
            until(partial(reads_from, call, mode))
            check(shares(site, call, call.mesh), mode)
        assert firm.mesh._policy.reading.read_from == "master"
        assert not firm.mesh._core.reads_replicas


@both
def test_own_writes_are_seen_in_all_modes(site: Replicated, kind: str) -> None:
    """Two threads a mode, for 2.5 s at least, in all the ways that a client can write."""

    def enough(own: OwnWriteCheck) -> bool:
        return set(own.done) == set(WRITES) and sum(own.done.values()) > 100

    with calling(kind, site.url) as call, calling(kind, site.url) as filler:
        running = [OwnWriteCheck(call, call.mesh.with_options(read_from=mode)) for mode in MODES]
        lagging = site.shards["cache-0"][1][0]
        for mode, own in zip(MODES, running, strict=True):
            own.start(mode, list(WRITES))
        try:
            began = time.monotonic()
            while (took := time.monotonic() - began) < 2.5 or not all(map(enough, running)):
                assert took < AT_MOST, "so much has not been written in time"
                filler(lambda mesh: mesh.set("filler", b"x" * 300_000))
                lagging.pause()
                time.sleep(0.03)
                lagging.resume()
                time.sleep(0.03)
        finally:
            for own in running:
                own.stop()
    for own in running:
        assert not own.stale
        assert not own.lost


@both
def test_an_own_write_is_soon_read_from_a_replica(site: Replicated, kind: str) -> None:
    with calling(kind, site.url, read_from="replica") as call:
        call(lambda mesh: mesh.set("k", 0))
        await_lag_known(call)
        site.reset_counts()
        waits = []
        for number in range(30):
            call(methodcaller("set", "k", number))
            value, seconds = call.timed(lambda mesh: mesh.get("k"))
            assert int(value) == number
            waits.append(seconds)
        in_time(median(waits), 0.05)
        assert all(master == 0 for master, *_ in site.counts("get").values())


@both
def test_what_goes_to_the_master_in_any_mode(site: Replicated, kind: str) -> None:
    with calling(kind, site.url, read_from="replica") as call:
        call(lambda mesh: mesh.hset("h", "f", 1))
        call(lambda mesh: mesh.get("k"))
        await_lag_known(call)
        site.reset_counts()
        call(lambda mesh: mesh.pipeline().get("k").get("l").execute())
        call(lambda mesh: mesh.pipeline(transaction=True).get("k").execute())
        assert call(lambda mesh: mesh.hscan("h")) == (0, {b"f": b"1"})
        assert call(lambda mesh: mesh.execute_command("hScan", "h", 0)) == (0, {b"f": b"1"})
        call(lambda mesh: mesh.dbsize())
        call(lambda mesh: mesh.xread({"s": "$"}, block=10))
        for _, *replicas in site.counts("get", "hscan", "dbsize", "xread").values():
            assert replicas == [0, 0]


@both
def test_scripts_that_only_read(site: Replicated, kind: str) -> None:
    """SCRIPT LOAD goes to masters: replicas do not know what was loaded there."""
    with direct(site.shards["cache-0"][0]) as client:
        needs_command(client, "EVAL_RO")
    key = site.keys("cache-0")[0]
    with calling(kind, site.url, read_from="prefer_replica") as call:
        call(lambda mesh: mesh.set(key, "v"))
        await_lag_known(call)
        sha = call(lambda mesh: mesh.script_load("return redis.call('GET', KEYS[1])"))
        assert call(lambda mesh: mesh.evalsha_ro(sha, 1, key)) == b"v"
        assert call(lambda mesh: mesh.eval_ro("return redis.call('GET', KEYS[1])", 1, key)) == b"v"
        with pytest.raises(redis.exceptions.NoScriptError):
            call.on(
                call.mesh.with_options(read_from="replica"),
                lambda mesh: mesh.evalsha_ro("0" * 40, 1, key),
            )


@both
def test_errors_of_a_command_are_its_own(site: Replicated, kind: str) -> None:
    with calling(kind, site.url, read_from="weighted") as call:
        call(lambda mesh: mesh.set("k", "v"))
        for _ in range(10):
            with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
                call(lambda mesh: mesh.lrange("k", 0, -1))
        shard = call.mesh._core.shards()[call.mesh.shard_for("k")]
        assert not any(instance.window.failures for instance in (shard.instance, *shard.replicas))
