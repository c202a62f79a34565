"""Replicas that fall behind, die, and come back, under clients that read from them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
import redis

import cachemesh
from cachemesh.local import LocalStack
from tests.support.both_clients import CLIENTS, Caller, calling
from tests.support.plain_redis import calls_of, direct, reset_counts_of, target
from tests.support.replicated_stack import Replicated, await_lag_known, replicated
from tests.support.waiting import in_time, until

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

both = pytest.mark.parametrize("kind", CLIENTS)
each_mode = pytest.mark.parametrize(
    ("kind", "mode"), [("sync", "prefer_replica"), ("asyncio", "weighted")]
)


@pytest.fixture(scope="module")
def site() -> Iterator[Replicated]:
    with replicated() as found:
        yield found


@pytest.fixture(autouse=True)
def sound(site: Replicated) -> None:
    site.settle()


@contextmanager
def stalled(site: Replicated, how: str) -> Iterator[None]:
    """All replicas of cache-0 no longer get, or apply, or tell what is written."""
    master, replicas = site.shards["cache-0"]
    # Who monitors is not paused, so can end a pause.
    connect: Any = redis.Connection  # untyped in redis-py
    monitors = [connect(*target(each)) for each in replicas if how == "paused"]
    for monitor in monitors:
        monitor.send_command("MONITOR")
        monitor.read_response()
        monitor.send_command("CLIENT", "PAUSE", 600_000)
    for replica in replicas:
        if how == "stopped":
            replica.pause()
        elif how == "cut off":
            with direct(replica) as client:
                client.replicaof("127.0.0.1", 1)
    if how == "cut off":
        with direct(master) as client:
            client.client_kill_filter(_type="replica")
    try:
        yield
    finally:
        for monitor in monitors:
            monitor.send_command("CLIENT", "UNPAUSE")
        for replica in replicas:
            replica.resume()
            if how == "cut off":
                with direct(replica) as client:
                    client.replicaof(*target(master))
        for replica, monitor in zip(replicas, monitors, strict=False):
            with direct(replica) as client:
                client.ping()
            monitor.disconnect()


@pytest.mark.parametrize(
    ("kind", "how"),
    [("sync", "stopped"), ("asyncio", "cut off"), ("sync", "paused"), ("asyncio", "stopped")],
)
def test_the_bound_on_lag(site: Replicated, kind: str, how: str) -> None:
    """Replicas that fall behind are read from no longer than allowed; the other shard's are."""
    here, there = site.keys("cache-0")[0], site.keys("cache-1")[0]
    options: dict[str, Any] = {"max_lag": 0.5, "command_timeout": 2.0}
    with calling(kind, site.url, **options) as call, calling(kind, site.url) as writer:
        writer(lambda mesh: mesh.mset({here: "old", there: "v"}))
        prefers = call.mesh.with_options(read_from="prefer_replica")
        only = call.mesh.with_options(read_from="replica")
        call.on(prefers, lambda mesh: mesh.get(here))
        await_lag_known(call)
        with stalled(site, how):
            writer(lambda mesh: mesh.set(here, "new"))
            written = time.monotonic()
            while time.monotonic() < written + 0.9:
                began = time.monotonic()
                value = call.on(prefers, lambda mesh: mesh.get(here))
                assert value == b"new" or began - written < 0.5
                assert call.on(only, lambda mesh: mesh.get(there)) == b"v"
            began = time.monotonic()
            with pytest.raises(cachemesh.ShardUnavailableError, match=r"no replica .*0\.5 s"):
                call.on(only, lambda mesh: mesh.get(here))
            in_time(time.monotonic() - began, 2.0)
        until(lambda: seen(call, only, here) == b"new")


def seen(call: Caller, mesh: Any, key: str) -> Any:
    try:
        return call.on(mesh, lambda m: m.get(key))
    except redis.ConnectionError:
        return None


class Readers:
    """Threads that read one key all the time."""

    def __init__(self, call: Caller, mesh: Any, key: str, threads: int = 4) -> None:
        self.errors: list[Exception] = []
        self.values: Counter[Any] = Counter()
        self._ended = threading.Event()
        self._call, self._mesh, self._key = call, mesh, key
        self._threads = [threading.Thread(target=self._work) for _ in range(threads)]

    def _work(self) -> None:
        while not self._ended.is_set():
            try:
                value = self._call.on(self._mesh, lambda mesh: mesh.get(self._key))
            except redis.RedisError as error:
                self.errors.append(error)
            else:
                self.values[value] += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


@each_mode
def test_a_replica_that_dies_is_missed_by_nobody(
    site: Replicated, kind: str, mode: str, tmp_path: Path
) -> None:
    """No error, its share goes to the others; back, it has to catch up and gains bit by bit."""
    key = site.keys("cache-0")[0]
    lost, other = site.shards["cache-0"][1]
    url = site.document(tmp_path, poll_interval=0.3)
    with calling(kind, url, read_from=mode, command_timeout=2.0) as call:
        call(lambda mesh: mesh.set(key, "v"))
        await_lag_known(call)
        shard = call.mesh._core.shards()["cache-0"]

        def window() -> Any:
            """Of the instance; Sentinel may drop it meanwhile, and name it anew."""
            found = [r.window for r in shard.replicas if r.address == lost.address]
            return found[0] if found else None

        with Readers(call, call.mesh, key) as readers:
            until(lambda: readers.values[b"v"] > 100)
            lost.kill()
            reset_counts_of(other)
            until(lambda: not window() or window().failures)
            so_far = readers.values[b"v"]
            until(lambda: readers.values[b"v"] > so_far + 100)
            assert calls_of(other, "get") > 20
            assert not window() or window().weight(time.monotonic(), None) == 0.0
            lost.restart()
            with direct(lost) as client:
                assert client.dbsize() == 0 or client.get(key) == "v"
                client.config_set("repl-diskless-sync-delay", 0)
                client.replicaof(*target(site.shards["cache-0"][0]))
            until(lambda: window() and not window().failures)
            assert 0.0 < window().weight(time.monotonic(), None) < 0.9
            until(lambda: calls_of(lost, "get") > 20)
    assert readers.errors == []
    assert set(readers.values) == {b"v"}, "a replica that lacked it was read from"


@each_mode
def test_stalled_replicas_cost_no_error(site: Replicated, kind: str, mode: str) -> None:
    key = site.keys("cache-0")[0]
    with calling(kind, site.url, read_from=mode, command_timeout=2.0) as call:
        call(lambda mesh: mesh.set(key, "v"))
        await_lag_known(call)
        keys = [key, site.keys("cache-1", prefix="none")[0]]
        with stalled(site, "stopped"), Readers(call, call.mesh, key) as readers:
            for _ in range(3):
                assert call(lambda mesh: mesh.mget(keys)) == [b"v", None]
            # They are left out then: to wait for one takes a second.
            until(lambda: call.timed(lambda mesh: mesh.get(key))[1] < 0.5)
    assert readers.errors == []


@both
def test_a_stalled_master_costs_no_error_where_replicas_have_their_share(
    site: Replicated, kind: str
) -> None:
    key = site.keys("cache-0")[0]
    master = site.shards["cache-0"][0]
    with calling(kind, site.url, read_from="weighted", command_timeout=2.0) as call:
        call(lambda mesh: mesh.set(key, "v"))
        await_lag_known(call)
        with Readers(call, call.mesh, key) as readers:
            until(lambda: readers.values[b"v"] > 100)
            master.pause()
            try:
                stopped = readers.values[b"v"]
                until(lambda: readers.values[b"v"] > stopped + 500)
            finally:
                master.resume()
    assert readers.errors == []
    assert set(readers.values) == {b"v"}


@both
def test_no_replica_is_a_clear_error_in_time(site: Replicated, kind: str) -> None:
    key = site.keys("cache-0")[0]
    replicas = site.shards["cache-0"][1]
    with calling(kind, site.url, read_from="replica", command_timeout=1.0) as call:
        call(lambda mesh: mesh.set(key, "v"))
        await_lag_known(call)
        for replica in replicas:
            replica.kill()
        waits = []
        for _ in range(11):
            error, seconds = call.timed(lambda mesh: mesh.get(key))
            assert isinstance(error, cachemesh.ShardUnavailableError)
            assert "cache-0" in str(error)
            assert "no replica is up" in str(error)
            assert "prefer_replica" in str(error)
            in_time(seconds, 1.0)
            waits.append(seconds)
        assert median(waits[-5:]) < 0.5, "by now it is known"
        assert (
            call.on(call.mesh.with_options(read_from="prefer_replica"), lambda mesh: mesh.get(key))
            == b"v"
        )
        assert call.on(call.mesh.with_options(on_error="miss"), lambda mesh: mesh.get(key)) is None


@both
def test_a_shard_without_replicas(site: Replicated, kind: str) -> None:
    with LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0) as stack:
        url = stack.info["url"]
        with calling(kind, url, read_from="prefer_replica", command_timeout=3.0) as call:
            call(lambda mesh: mesh.set("k", "v"))
            assert call(lambda mesh: mesh.get("k")) == b"v"
            only = call.mesh.with_options(read_from="replica")
            waits = []
            for _ in range(4):
                began = time.monotonic()
                with pytest.raises(cachemesh.ShardUnavailableError, match="no replica is up"):
                    call.on(only, lambda mesh: mesh.get("k"))
                waits.append(time.monotonic() - began)
            assert median(waits[1:]) < 1.0, "known after the first, which looks for 2 s"
