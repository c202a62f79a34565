"""Own writes are seen in every way that a client can write, also while replicas lag for good."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import redis

import cachemesh
from cachemesh.core.resilience.error_classification import Failure
from cachemesh.local import Process
from tests.support.both_clients import CLIENTS, Caller, calling
from tests.support.plain_redis import direct
from tests.support.replicated_stack import Replicated, replicated
from tests.support.waiting import until

SET = "redis.call('SET', KEYS[1], 'w')"


def piped(transaction: bool | None, call: Caller, key: str, other: str) -> None:
    pipe = call.mesh.pipeline(transaction=transaction).set(key, "w")
    if transaction is not True:
        pipe.set(other, "w")
    call.drive(pipe).execute()


def failed_piped(call: Caller, key: str, other: str) -> None:
    pipe = call.mesh.pipeline(transaction=False).set(key, "w").lpush(key, 1).set(other, "w")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        call.drive(pipe).execute()


def failed_script(call: Caller, key: str, other: str) -> None:
    with pytest.raises(redis.ResponseError):
        call.driven.eval(f"{SET} return redis.call('LPUSH', KEYS[1], 1)", 1, key)


def watched(call: Caller, key: str, other: str) -> None:
    pipe = call.drive(call.mesh.pipeline())
    pipe.watch(key)
    pipe.it.multi()
    pipe.it.set(key, "w")
    pipe.execute()


def while_watching(call: Caller, key: str, other: str) -> None:
    pipe = call.drive(call.mesh.pipeline())
    pipe.watch(key)
    pipe.set(key, "w")
    pipe.reset()


def popped(call: Caller, key: str, other: str) -> None:
    call.driven.execute_command("DEL", key)
    call.driven.rpush(key, "v")
    call.driven.blpop([key], timeout=1)


WAYS: dict[str, Callable[[Caller, str, str], Any]] = {
    "SET": lambda call, key, other: call.driven.set(key, "w"),
    "in lower case": lambda call, key, other: call.driven.execute_command("set", key, "w"),
    "DEL": lambda call, key, other: call.driven.delete(key, other),
    "MSET": lambda call, key, other: call.driven.mset({key: "w", other: "w"}),
    "RENAME": lambda call, key, other: call.driven.rename(key, f"{{{key}}}new"),
    "EVAL": lambda call, key, other: call.driven.eval(SET, 1, key),
    "EVAL without keys": lambda call, key, other: call.driven.eval("redis.call('FLUSHALL')", 0),
    "a script that fails half-way": failed_script,
    "BLPOP": popped,
    "a pipeline": partial(piped, False),
    "a pipeline that fails half-way": failed_piped,
    "a MULTI for each shard": partial(piped, None),
    "a transaction": partial(piped, True),
    "WATCH and MULTI": watched,
    "while watching": while_watching,
    "a lock": lambda call, key, other: (
        call.driven.delete(key),
        call.drive(call.mesh.lock(key, timeout=60)).acquire(),
    ),
    "FLUSHDB": lambda call, key, other: call.driven.flushdb(),
    "FLUSHALL": lambda call, key, other: call.driven.flushall(),
    "a pipeline with FLUSHDB": lambda call, key, other: call.drive(
        call.mesh.pipeline(transaction=False).flushdb()
    ).execute(),
}


@pytest.fixture(scope="module")
def site() -> Iterator[Replicated]:
    """Replicas hold ``v`` for all keys, and hear nothing from their masters any more."""
    with replicated() as found:
        for name, (master, replicas) in found.shards.items():
            keys = [key for way in WAYS for key in found.keys(name, 1, way)]
            with direct(master) as client:
                client.mset(dict.fromkeys(keys, "v"))
                client.wait(len(replicas), 60_000)
                assert all(is_there(replica, keys) for replica in replicas)
                client.acl_setuser("default", True, commands=["-psync", "-sync"], nopass=True)
                client.client_kill_filter(_type="replica")
        yield found


def is_there(replica: Process, keys: list[str]) -> bool:
    with direct(replica) as client:
        return bool(client.mget(keys) == ["v"] * len(keys))


def all_served(call: Caller, use: Callable[[Any], Any], replicas: Any) -> bool:
    call(use)
    return not any(replica.breaker.failures for replica in replicas)


def replicas_are_known(call: Caller) -> bool:
    return all(len(shard.replicas) == 2 for shard in call.mesh._core.shards().values())


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("mode", ["prefer_replica", "weighted"])
def test_a_write_is_seen(site: Replicated, mode: str, kind: str) -> None:
    unseen = []
    for way, write in WAYS.items():
        (key,), (other,) = site.keys("cache-0", 1, way), site.keys("cache-1", 1, way)
        for name, (master, _) in site.shards.items():
            with direct(master) as client:
                (mine,) = site.keys(name, 1, way)
                client.delete(mine)
                client.set(mine, "v")
        with calling(kind, site.url, read_from=mode) as call:
            call.driven.get("any")
            until(partial(replicas_are_known, call))
            write(call, key, other)
            for name, asked in (("cache-0", key), ("cache-1", other)):
                with direct(site.shards[name][0]) as client:
                    truth: Any = client.get(asked)
                for _ in range(4):  # by another instance each
                    found = call.driven.get(asked)
                    if found != (truth and truth.encode()) and (asked == key or truth != "v"):
                        unseen.append(f"{way}: {asked} is {found}, not {truth}")
                        break
    assert unseen == []


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_replicas_reply_ends_a_row_of_failures(site: Replicated, kind: str) -> None:
    key, other = site.keys("cache-0", 2)
    with calling(kind, site.url, read_from="replica") as call:
        call.driven.get("any")
        until(partial(replicas_are_known, call))
        replicas = call.mesh._core.shards()["cache-0"].replicas
        for use in (lambda mesh: mesh.get(key), lambda mesh: mesh.mget(key, other)):
            for _ in range(20):  # so that there are connections to both
                call(use)
            for replica in replicas:
                for _ in range(2):
                    call.drive(replica).failed(Failure.NOT_READY)
            until(partial(all_served, call, use, replicas))


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_pipeline_that_one_shard_refuses_has_written_on_the_other(
    site: Replicated, kind: str
) -> None:
    (key,), (other,) = site.keys("cache-0", 1, "SET"), site.keys("cache-1", 1, "SET")
    master, replicas = site.shards["cache-0"]
    with direct(master) as client:
        client.set(key, "v")
    for process in (master, *replicas):
        with direct(process) as client:
            client.acl_setuser("app", True, passwords="+pw", keys="*", categories=["+@all"])
    login = {"username": "app", "password": "pw", "read_from": "prefer_replica"}
    with calling(kind, site.url, **login) as call:
        call.driven.get(key)
        until(lambda: len(call.mesh._core.shards()["cache-0"].replicas) == 2)
        assert call.driven.get(key) == b"v"
        pipe = call.mesh.pipeline(transaction=False).set(other, "w").set(key, "w")
        with pytest.raises(cachemesh.LoginRefusedError):
            call.drive(pipe).execute()
        assert call.driven.get(key) == b"w"


@pytest.mark.parametrize("kind", CLIENTS)
def test_replicas_are_what_was_not_written_is_read_from(site: Replicated, kind: str) -> None:
    """Else the test above would tell nothing."""
    (key,) = site.keys("cache-0", 1, "SET")
    with direct(site.shards["cache-0"][0]) as client:
        client.set(key, "w")
    with calling(kind, site.url, read_from="prefer_replica") as call:
        call.driven.get("any")
        until(partial(replicas_are_known, call))
        assert call.driven.get(key) == b"v"
