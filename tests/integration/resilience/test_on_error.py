"""``on_error="miss"``: a shard that does not serve looks like an empty one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

import cachemesh
from cachemesh.core.resilience import replica_patience
from cachemesh.local import Process
from tests.support.both_clients import CLIENTS, Caller, calling
from tests.support.movable_pool import MovablePool, reset, unwatched_masters
from tests.support.plain_redis import direct, target
from tests.support.waiting import AT_MOST, PATIENT, until

NOWHERE = ("127.0.0.1", 1)


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with unwatched_masters(1) as (running,):
        yield running


@pytest.fixture
def site(server: Process, tmp_path: Path) -> Iterator[MovablePool]:
    """Shard cache-0 does not serve, cache-1 does."""
    reset(server)
    with MovablePool({"cache-0": NOWHERE, "cache-1": target(server)}, tmp_path) as made:
        yield made


@pytest.fixture(
    params=[
        (kind, protocol, decode) for kind in CLIENTS for protocol in (2, 3) for decode in (0, 1)
    ],
    ids=lambda param: f"{param[0]}, RESP{param[1]}, {'str' if param[2] else 'bytes'}",
)
def caller(request: pytest.FixtureRequest, site: MovablePool) -> Iterator[Caller]:
    kind, protocol, decode = request.param
    options = {"protocol": protocol, "decode_responses": bool(decode), "on_error": "miss"}
    with calling(kind, site.url, **options) as made:
        yield made


def scanned(mesh: Any, key: str) -> Any:
    return mesh.hscan(key)


READS: dict[str, tuple[Callable[[Any, str], Any], Any]] = {
    "GET": (lambda mesh, key: mesh.get(key), None),
    "EXISTS": (lambda mesh, key: mesh.exists(key), 0),
    "TTL": (lambda mesh, key: mesh.ttl(key), -2),
    "HGET": (lambda mesh, key: mesh.hget(key, "f"), None),
    "HGETALL": (lambda mesh, key: mesh.hgetall(key), {}),
    "HMGET": (lambda mesh, key: mesh.hmget(key, ["f", "g"]), [None, None]),
    "HSCAN": (scanned, (0, {})),
    "LRANGE": (lambda mesh, key: mesh.lrange(key, 0, -1), []),
    "SMEMBERS": (lambda mesh, key: mesh.smembers(key), set()),
    "ZRANGE": (lambda mesh, key: mesh.zrange(key, 0, -1, withscores=True), []),
    "ZSCORE": (lambda mesh, key: mesh.zscore(key, "m"), None),
    "XRANGE": (lambda mesh, key: mesh.xrange(key), []),
    "STRLEN": (lambda mesh, key: mesh.strlen(key), 0),
}
WRITES: dict[str, tuple[Callable[[Any, str], Any], Any]] = {
    "SET": (lambda mesh, key: mesh.set(key, "v"), None),
    "SETNX": (lambda mesh, key: mesh.setnx(key, "v"), False),
    "DEL": (lambda mesh, key: mesh.delete(key), 0),
    "EXPIRE": (lambda mesh, key: mesh.expire(key, 9), False),
    "INCR": (lambda mesh, key: mesh.incr(key), None),
    "HSET": (lambda mesh, key: mesh.hset(key, "f", "v"), 0),
    "LPUSH": (lambda mesh, key: mesh.lpush(key, "v"), 0),
    "SADD": (lambda mesh, key: mesh.sadd(key, "v"), 0),
    "ZADD": (lambda mesh, key: mesh.zadd(key, {"v": 1}), 0),
    "XADD": (lambda mesh, key: mesh.xadd(key, {"f": "v"}), None),
    "BLPOP": (lambda mesh, key: mesh.blpop([key], timeout=1), None),
    "EVAL": (lambda mesh, key: mesh.eval("return 1", 1, key), None),
}


def call(use: Callable[[Any, str], Any], key: str, mesh: Any) -> Any:
    return use(mesh, key)


def piped(gone: str, there: str, transaction: bool | None, keep: bool, mesh: Any) -> Any:
    pipe = mesh.pipeline(transaction=transaction).set(gone, "x").set(there, "y")
    return pipe.get(gone).get(there).hgetall(gone).execute(raise_on_error=keep)


def test_reads_miss_and_writes_are_dropped_and_counted(caller: Caller, site: MovablePool) -> None:
    (key,) = site.keys()
    for name, (use, wanted) in {**READS, **WRITES}.items():
        assert caller(partial(call, use, key)) == wanted, name
    health = caller.health()
    assert (health.misses, health.dropped) == (len(READS), len(WRITES))
    assert caller.health("cache-1").misses == caller.health("cache-1").dropped == 0


def test_commands_for_several_shards_miss_in_part(caller: Caller, site: MovablePool) -> None:
    (gone,), (there, second) = site.keys(), site.keys("cache-1", 2)
    text: Callable[[str], Any] = str if caller.mesh.get_encoder().decode_responses else str.encode
    assert caller(lambda mesh: mesh.set(there, "v"))
    assert caller(lambda mesh: mesh.mget(gone, there)) == [None, text("v")]
    caller(lambda mesh: mesh.mset({gone: 1, there: 2, second: 3}))
    assert caller(lambda mesh: mesh.mget(there, gone, second)) == [text("2"), None, text("3")]
    assert caller(lambda mesh: mesh.exists(gone, there)) == 1
    assert caller(lambda mesh: mesh.delete(gone, there)) == 1
    for transaction in (False, None):
        for keep in (True, False):
            replies = caller(partial(piped, gone, there, transaction, keep))
            assert replies == [None, True, None, text("y"), {}]
    assert caller(lambda mesh: mesh.pipeline(transaction=True).get(gone).execute()) == [None]


def test_what_is_raised_all_the_same(caller: Caller, site: MovablePool) -> None:
    (gone,), (there,) = site.keys(), site.keys("cache-1")
    caller(lambda mesh: mesh.set(there, "v"))
    for use, error in (
        (lambda mesh: mesh.lpush(there, 1), redis.ResponseError),
        (lambda mesh: mesh.set(there, object()), redis.DataError),
        (lambda mesh: mesh.set(gone, object()), redis.DataError),
        (lambda mesh: mesh.rename(gone, there), cachemesh.CrossShardError),
        (lambda mesh: mesh.execute_command("GET"), cachemesh.ShardUnavailableError),
        (lambda mesh: mesh.dbsize(), cachemesh.ShardUnavailableError),
        (lambda mesh: mesh.keys("*"), cachemesh.ShardUnavailableError),
        (lambda mesh: mesh.pipeline().watch(gone), cachemesh.ShardUnavailableError),
    ):
        with pytest.raises(error) as caught:
            caller(use)
        assert isinstance(caught.value, cachemesh.ShardUnavailableError) == (
            error is cachemesh.ShardUnavailableError
        )
    replies = caller(
        lambda mesh: (
            mesh.pipeline(transaction=False).lpush(there, 1).get(gone).execute(raise_on_error=False)
        )
    )
    assert isinstance(replies[0], redis.ResponseError)
    assert replies[1] is None


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_lock_is_not_given(kind: str, site: MovablePool) -> None:
    (gone,) = site.keys()
    with calling(kind, site.url, on_error="miss") as caller:
        lock = caller(lambda mesh: mesh.lock(gone, timeout=5, blocking_timeout=0.2))
        assert caller(lambda mesh: lock.acquire()) is False
        assert caller(lambda mesh: lock.owned()) is False


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_login_that_is_refused_is_raised(kind: str, server: Process, tmp_path: Path) -> None:
    with (
        MovablePool({"cache-0": target(server)}, tmp_path) as site,
        calling(kind, site.url, on_error="miss", password="wrong", username="u") as caller,
    ):
        came, _ = caller.timed(lambda mesh: mesh.get("k"))
        assert isinstance(came, redis.AuthenticationError)


@pytest.mark.parametrize("kind", CLIENTS)
def test_without_discovery_there_is_nothing_to_miss(kind: str, tmp_path: Path) -> None:
    for url in (f"cachemesh+file://{tmp_path}/none.json", "cachemesh://127.0.0.1:1/cache"):
        with calling(kind, url, on_error="miss") as caller:
            came, _ = caller.timed(lambda mesh: mesh.get("k"))
            assert isinstance(came, cachemesh.CacheMeshError)
            assert isinstance(came, redis.ConnectionError)


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_master_that_comes_and_goes(kind: str, server: Process, tmp_path: Path) -> None:
    reset(server)
    with (
        MovablePool({"cache-0": target(server)}, tmp_path) as site,
        calling(kind, site.url, on_error="miss", decode_responses=True) as caller,
    ):
        assert caller(lambda mesh: mesh.set("k", "v"))
        server.kill()
        try:
            assert caller(lambda mesh: mesh.get("k")) is None
            assert caller(lambda mesh: mesh.set("k", "w")) is None
        finally:
            server.restart()
        until(lambda: caller(lambda mesh: mesh.set("k", "x")))
        assert caller(lambda mesh: mesh.get("k")) == "x"
        with direct(server) as there:
            assert there.get("k") == "x"


@pytest.mark.parametrize("kind", CLIENTS)
def test_writes_that_lack_replicas_are_dropped_and_counted(
    kind: str, server: Process, tmp_path: Path
) -> None:
    reset(server)
    with (
        MovablePool({"cache-0": target(server)}, tmp_path) as site,
        direct(server) as raw,
        calling(kind, site.url, on_error="miss", decode_responses=True) as caller,
    ):
        key, other = site.keys(count=2)
        raw.set(key, "before")
        raw.config_set("min-replicas-to-write", 1)
        try:
            for name, (use, wanted) in WRITES.items():
                if name != "EVAL":  # which only answers
                    assert caller(partial(call, use, other)) == wanted, name
            assert caller.health().dropped == len(WRITES) - 1
            assert caller(lambda mesh: mesh.get(key)) == "before", "reads are served"
            caller(lambda mesh: mesh.mset({key: 1, other: 2}))
            plain = caller(
                lambda mesh: mesh.pipeline(transaction=False).set(key, 1).get(key).execute()
            )
            assert plain == [None, "before"]
            atomic = caller(lambda mesh: mesh.pipeline().set(key, 1).get(key).execute())
            assert atomic == [None, None], "all or nothing has run"
            health = caller.health()
            assert (health.misses, health.dropped) == (1, len(WRITES) + 2)
            with pytest.raises(redis.ResponseError, match="NOREPLICAS"):
                caller(lambda mesh: mesh.with_options(on_error="raise").set(key, 1))
        finally:
            raw.config_set("min-replicas-to-write", 0)
        assert raw.get(key) == "before"
        assert caller(lambda mesh: mesh.set(key, "after")) is True


REFUSED: dict[str, tuple[Callable[[Any, str], Any], Any]] = {
    "a command": (lambda mesh, key: mesh.set(key, 1), True),
    "several keys": (lambda mesh, key: mesh.mset({key: 1}), True),
    "a pipeline": (
        lambda mesh, key: mesh.pipeline(transaction=False).set(key, 1).get(key).execute(),
        [True, "1"],
    ),
    "a transaction": (lambda mesh, key: mesh.pipeline().set(key, 1).execute(), [True]),
    "a command that blocks": (lambda mesh, key: mesh.blmove(f"{{{key}}}", key, 1), "1"),
}


@pytest.mark.parametrize("kind", CLIENTS)
def test_writes_wait_for_a_moment_where_a_master_lacks_replicas(
    kind: str, server: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the old master of a planned failover does, until it is a replica."""
    monkeypatch.setattr(replica_patience, "PATIENCE", AT_MOST)
    reset(server)
    with (
        MovablePool({"cache-0": target(server)}, tmp_path) as site,
        direct(server) as raw,
        calling(kind, site.url, decode_responses=True, **PATIENT) as caller,
    ):
        for name, (use, wanted) in REFUSED.items():
            raw.flushall()
            raw.rpush("{k}", 1)
            assert refused_for_a_moment(raw, partial(caller, partial(call, use, "k"))) == wanted, (
                name
            )


def refused_for_a_moment(raw: Any, write: Callable[[], Any]) -> Any:
    """Return what a write returns at which the master lacks replicas first."""
    raw.config_set("min-replicas-to-write", 1)
    raw.config_resetstat()
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        until(lambda: writing.done() or rejected(raw))
        raw.config_set("min-replicas-to-write", 0)
        return writing.result()


def rejected(raw: Any) -> int:
    stats = raw.info("commandstats").values()
    return sum(each["rejected_calls"] for each in stats)
