"""The client on real shards and Sentinels, without a metaserver: Sentinel-only and file sources."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import cachemesh
from cachemesh import CacheMesh
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.local import LocalStack
from tests.support.sentinels import keep_masters, routes_by
from tests.support.waiting import until


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(metaservers=0) as running:
        keep_masters(running)
        yield running


@pytest.fixture
def client(stack: LocalStack) -> Iterator[CacheMesh]:
    with CacheMesh.from_url(stack.info["url"], decode_responses=True) as mesh:
        mesh.flushall()
        yield mesh


def write_document(path: Path, stack: LocalStack, version: int, names: list[str]) -> None:
    document = PoolDocument(
        "cache",
        version,
        SlotsPlacement.even([Shard(name) for name in names]),
        sentinels=tuple(stack.info["sentinels"]),
    )
    beside = path.with_suffix(".new")
    beside.write_text(document.to_json())
    beside.replace(path)


def test_it_is_a_redis_client(client: CacheMesh) -> None:
    assert isinstance(client, redis.Redis)
    assert client.ping() is True
    assert client.set("a", 1, ex=100) is True
    assert client.get("a") == "1"
    assert client.get("none") is None
    assert client.incrby("a", 5) == 6
    assert 0 < client.ttl("a") <= 100
    assert client.hset("h", mapping={"x": 1, "y": 2}) == 2
    assert client.hgetall("h") == {"x": "1", "y": "2"}
    assert client.zadd("z", {"m": 1.5}) == 1
    assert client.zrange("z", 0, -1, withscores=True) in ([("m", 1.5)], [["m", 1.5]])
    assert client.object("encoding", "a") == "int"
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.lpush("a", 1)
    assert client.get("a") == "6", "the connection is good after an error reply"


def test_keys_are_spread_and_many_are_gathered_in_order(client: CacheMesh) -> None:
    keys = [f"user:{i}" for i in range(300)]
    assert client.mset({key: key.upper() for key in keys}) is True
    assert client.mget([*keys, "none"]) == [*(key.upper() for key in keys), None]
    assert client.dbsize() == 300
    per_shard = client.dbsize_per_shard()
    assert list(per_shard) == ["cache-0", "cache-1", "cache-2"]
    assert min(per_shard.values()) > 60
    assert client.exists(*keys, keys[0]) == 301
    assert sorted(client.keys("user:*")) == sorted(keys)
    assert client.delete(*keys[:100]) == 100
    assert client.unlink(*keys) == 200
    assert client.dbsize() == 0


def test_every_key_is_on_the_shard_that_placement_names(
    client: CacheMesh, stack: LocalStack
) -> None:
    keys = [f"k{i}" for i in range(50)]
    client.mset(dict.fromkeys(keys, "v"))
    for shard in stack.info["shards"]:
        host, port = shard["master"].split(":")
        with redis.Redis(host, int(port), decode_responses=True) as direct:
            assert {k for k in keys if client.shard_for(k) == shard["name"]} == set(direct.keys())


def test_keys_on_several_shards_raise_before_anything_is_sent(client: CacheMesh) -> None:
    client.mset({"a": "1", "b": "2"})
    assert client.shard_for("a") != client.shard_for("b")
    for call in (
        lambda: client.rename("a", "b"),
        lambda: client.msetnx({"a": 1, "b": 2}),
        lambda: client.sinterstore("a", ["b"]),
        lambda: client.eval("return 1", 2, "a", "b"),
    ):
        with pytest.raises(cachemesh.CrossShardError, match="hash tag") as caught:
            call()
        assert isinstance(caught.value, redis.ResponseError)
    assert client.mget("a", "b") == ["1", "2"]
    assert client.rename("a", "{a}new") is True
    assert client.get("{a}new") == "1"


def test_scripts_and_locks_work_on_one_shard(client: CacheMesh) -> None:
    script = client.register_script("return redis.call('incrby', KEYS[1], ARGV[1])")
    assert script(keys=["n"], args=[3]) == 3
    client.script_flush()
    assert script(keys=["n"], args=[4]) == 7
    with client.lock("the-lock", timeout=5), pytest.raises(redis.exceptions.LockError):
        client.lock("the-lock", timeout=5, blocking=False).__enter__()


@pytest.mark.parametrize("bad", [None, True, ["a"], {"a": 1}, object()])
def test_bad_keys(client: CacheMesh, bad: Any) -> None:
    with pytest.raises(cachemesh.InvalidKeyError, match="Invalid key of type"):
        client.get(bad)
    with pytest.raises(redis.DataError):
        client.set("k", bad)
    assert client.get("k") is None


def test_without_decoding_replies_are_bytes(stack: LocalStack) -> None:
    with CacheMesh.from_url(stack.info["url"]) as mesh:
        mesh.set(b"\xff\x00", memoryview(b"\x00\r\n\xfe"))
        key: Any = bytearray(b"\xff\x00")  # not among the types of redis-py
        assert mesh.get(key) == b"\x00\r\n\xfe"
        assert mesh.mget(b"\xff\x00") == [b"\x00\r\n\xfe"]
        mesh.delete(b"\xff\x00")


@pytest.mark.parametrize("protocol", [2, 3])
def test_both_protocols(stack: LocalStack, protocol: int) -> None:
    with CacheMesh.from_url(f"{stack.info['url']}?protocol={protocol}") as mesh:
        mesh.hset("ph", "f", "v")
        assert mesh.hgetall("ph") == {b"f": b"v"}
        assert mesh.smembers("none") == set()
        mesh.delete("ph")


def test_threads_share_a_client_and_never_get_each_others_replies(client: CacheMesh) -> None:
    wrong: list[object] = []

    def work(me: int) -> None:
        for i in range(400):
            key = f"t{me}:{i % 20}"
            client.set(key, key)
            got = client.mget(key, key) if i % 5 == 0 else [client.get(key)] * 2
            if got != [key, key]:
                wrong.append((key, got))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # one in a __del__
def test_an_interrupt_never_leaves_a_reply_behind(client: CacheMesh) -> None:
    keys = [f"i{i}" for i in range(50)]
    client.mset({key: key for key in keys})

    class Interrupt(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    interrupts = wrong = rounds = 0
    try:
        while interrupts < 200:
            rounds += 1
            key = keys[rounds % len(keys)]
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.00001 + (rounds % 40) * 0.000005)
                got = client.mget(key, *keys[:9])[0] if rounds % 3 else client.get(key)
                signal.setitimer(signal.ITIMER_REAL, 0)
                wrong += got != key
            except Interrupt:
                interrupts += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert wrong == 0
    assert all(client.get(key) == key for key in keys)


def test_a_forked_child_shares_no_socket(client: CacheMesh) -> None:
    client.set("parent", "p")
    children = []
    for number in range(3):
        pid = os.fork()
        if pid == 0:
            ok = False
            try:
                mine = f"child-{number}"
                ok = all(
                    client.set(mine, f"{mine}:{i}") and client.get(mine) == f"{mine}:{i}"
                    for i in range(300)
                )
            finally:
                os._exit(0 if ok else 1)
        children.append(pid)
    for i in range(300):
        client.set("parent", f"p:{i}")
        assert client.get("parent") == f"p:{i}"
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]


def test_a_file_names_the_pool_and_changes_are_followed(stack: LocalStack, tmp_path: Path) -> None:
    path = tmp_path / "cache.json"
    write_document(path, stack, 1, ["cache-0", "cache-1"])
    with CacheMesh.from_url(f"cachemesh+file://{path}") as mesh:
        assert set(mesh.dbsize_per_shard()) == {"cache-0", "cache-1"}
        write_document(path, stack, 2, ["cache-0", "cache-1", "cache-2"])
        until(lambda: routes_by(mesh, 2))
        assert set(mesh.dbsize_per_shard()) == {"cache-0", "cache-1", "cache-2"}
        path.write_text("{")  # a broken file keeps the pool as it was
        assert mesh.set("k", "v") is True
        write_document(path, stack, 3, ["cache-2"])
        until(lambda: routes_by(mesh, 3))
        assert mesh.shard_for("k") == "cache-2"


def test_a_killed_master_costs_only_its_own_keys_until_a_replica_is_promoted(
    stack: LocalStack,
) -> None:
    with CacheMesh.from_url(stack.info["url"], decode_responses=True) as mesh:
        keys = {mesh.shard_for(f"f{i}"): f"f{i}" for i in range(100)}
        mesh.mset(dict.fromkeys(keys.values(), "v"))
        old = stack.master_of("cache-1")
        process = stack.process(old)
        keep_masters(stack, milliseconds=1000)
        process.kill(signal.SIGKILL)
        with pytest.raises(cachemesh.ShardUnavailableError, match="'cache-1' at") as caught:
            mesh.set(keys["cache-1"], "w")
        assert isinstance(caught.value, redis.ConnectionError)
        assert mesh.get(keys["cache-0"]) == mesh.get(keys["cache-2"]) == "v"

        def written() -> bool:
            try:
                return bool(mesh.set(keys["cache-1"], "new"))
            except cachemesh.ShardUnavailableError:
                return False

        until(written)
        assert mesh.get(keys["cache-1"]) == "new"
        assert str(mesh.topology.masters["cache-1"]) != old
        # Sentinel says so up to a second after the client has seen it.
        until(lambda: str(mesh.topology.masters["cache-1"]) == stack.master_of("cache-1"))
        process.restart()
        keep_masters(stack)


def test_a_server_that_answers_garbage_or_hangs_up_is_an_error_and_no_more(
    stack: LocalStack, tmp_path: Path
) -> None:
    """A fake Sentinel sends the client to a fake master, whose replies may be anything."""
    for answer in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$5\r\nab", b""):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            thread = threading.Thread(target=_answer_once, args=(server, answer), daemon=True)
            thread.start()
            path = tmp_path / "fake.json"
            document = PoolDocument(
                "cache",
                1,
                SlotsPlacement.even([Shard("cache-0")]),
                sentinels=(f"127.0.0.1:{port}",),
            )
            path.write_text(json.dumps(document.to_dict()))
            with (
                CacheMesh.from_url(f"cachemesh+file://{path}?sentinel_timeout=0.3") as mesh,
                pytest.raises(cachemesh.SentinelUnavailableError, match=f"127.0.0.1:{port}"),
            ):
                mesh.get("a")


def _answer_once(server: socket.socket, answer: bytes) -> None:
    try:
        connection, _ = server.accept()
    except OSError:
        return
    with connection:
        connection.recv(4096)
        connection.sendall(answer)


def test_errors_of_sources_name_what_is_missing(stack: LocalStack, tmp_path: Path) -> None:
    sentinels = ",".join(stack.info["sentinels"])
    nowhere = "127.0.0.1:1"
    for url, error, message in (
        (f"cachemesh+sentinel://{sentinels}/nope", cachemesh.PoolNotFoundError, "'nope' or nope-"),
        (f"cachemesh+sentinel://{nowhere}/cache", cachemesh.SentinelUnavailableError, nowhere),
        (f"cachemesh+file://{tmp_path}/none", cachemesh.PoolNotFoundError, "No such file"),
        (f"cachemesh://{nowhere}/cache", cachemesh.MetaserverUnavailableError, nowhere),
    ):
        with CacheMesh.from_url(url, token="t0p-secret") as mesh:
            with pytest.raises(error, match=re.escape(message)) as caught:
                mesh.get("a")
            assert "t0p-secret" not in str(caught.value) + repr(mesh)
