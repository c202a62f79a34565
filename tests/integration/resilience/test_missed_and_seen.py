"""A dead shard's answers have the form of real ones; own writes are seen from the first read on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from cachemesh import CacheMesh
from cachemesh.core.names import parse_address
from cachemesh.local import LocalStack
from tests.support.both_clients import CLIENTS, calling
from tests.support.plain_redis import connect
from tests.support.waiting import until


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    options: dict[str, Any] = {"shards": 2, "sentinels": 1, "metaservers": 0}
    with LocalStack(replicas=1, down_after_ms=600_000, **options) as running:
        yield running


def test_a_write_before_the_first_read_from_replicas_is_seen(stack: LocalStack) -> None:
    with CacheMesh.from_url(stack.info["url"], command_timeout=2.0) as client:
        mesh: Any = client
        mesh.set("k", "old")
        shard = next(s for s in stack.info["shards"] if s["name"] == mesh.shard_for("k"))
        master = parse_address(shard["master"])
        replica: Any = connect(shard["replicas"][0])
        until(lambda: replica.get("k") == b"old")
        replica.execute_command("REPLICAOF", "127.0.0.1", 1)
        try:
            mesh.set("k", "new")
            assert mesh.with_options(read_from="prefer_replica").get("k") == b"new"
            with pytest.raises(redis.ConnectionError):
                mesh.with_options(read_from="replica").get("k")
        finally:
            replica.execute_command("REPLICAOF", *master)
        assert mesh.with_options(read_from="replica").get("k") == b"new"
        replica.close()


@pytest.mark.parametrize("protocol", [2, 3, None])
def test_answers_of_a_dead_shard_have_the_form_of_real_ones(
    stack: LocalStack, protocol: int | None
) -> None:
    options: dict[str, Any] = {} if protocol is None else {"protocol": protocol}
    url = stack.info["url"]
    with CacheMesh.from_url(url, on_error="miss", command_timeout=3.0, **options) as client:
        mesh: Any = client
        dead = next(f"k{i}" for i in range(99) if mesh.shard_for(f"k{i}") == "cache-0")
        alive = next(f"k{i}" for i in range(99) if mesh.shard_for(f"k{i}") == "cache-1")
        mesh.delete(dead, alive)
        process = stack.process(stack.info["shards"][0]["master"])
        process.kill()
        try:
            for read in (mesh.hgetall, mesh.smembers, mesh.get, mesh.type, mesh.hscan):
                assert read(dead) == read(alive)
                assert type(read(dead)) is type(read(alive))
            assert not mesh.mset({dead: 1, alive: 2})
            assert not mesh.mset({alive: 2, dead: 1})
            assert mesh.mget(dead, alive) == [None, b"2"]
            assert mesh.delete(dead, alive) == 1
        finally:
            process.restart()


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_loop_around_a_blocking_command_does_not_spin(stack: LocalStack, kind: str) -> None:
    with calling(kind, stack.info["url"], on_error="miss", command_timeout=3.0) as call:
        call(lambda mesh: mesh.set("{dead}", 1))
        shard = call(lambda mesh: mesh.shard_for("{dead}"))
        process = stack.process(stack.master_of(shard))
        process.kill()
        try:
            for _ in range(5):
                call(lambda mesh: mesh.get("{dead}"))
            began, answers = time.monotonic(), 0
            while time.monotonic() - began < 0.5:
                assert call(lambda mesh: mesh.blpop("{dead}q", timeout=5)) is None
                answers += 1
            assert answers < 10
            assert call(lambda mesh: mesh.get("{dead}")) is None
        finally:
            process.restart()
