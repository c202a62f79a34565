"""Pipelines, transactions, blocking commands and pub/sub of the sync client, over real shards."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

import cachemesh
from cachemesh import CacheMesh
from cachemesh.local import LocalStack
from tests.support.sentinels import keep_masters
from tests.support.waiting import AT_MOST, until


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(metaservers=0) as running:
        keep_masters(running)
        yield running


@pytest.fixture
def client(stack: LocalStack) -> Iterator[Any]:
    with CacheMesh.from_url(stack.info["url"], decode_responses=True) as mesh:
        mesh.flushall()
        yield mesh


@pytest.mark.parametrize("transaction", [None, False])
def test_a_pipeline_over_shards_keeps_the_callers_order(
    client: Any, transaction: bool | None
) -> None:
    pipe = client.pipeline(transaction=transaction)
    for i in range(60):
        pipe.set(f"k{i}", i).get(f"k{i}")
    pipe.mget([f"k{i}" for i in range(60)]).hset("h", "f", "v").hgetall("h").dbsize()
    assert len(pipe) == 124
    results = pipe.execute()
    assert results[:120] == [value for i in range(60) for value in (True, str(i))]
    assert results[120] == [str(i) for i in range(60)]
    assert results[121:] == [1, {"f": "v"}, 61]
    assert len(pipe) == 0
    assert pipe.execute() == []


def test_an_error_in_a_pipeline_names_its_command(client: Any) -> None:
    pipe = client.pipeline(transaction=False)
    pipe.set("a", 1).lpush("a", 1).get("a")
    with pytest.raises(redis.ResponseError, match=r"Command # 2 \(LPUSH a 1\).*WRONGTYPE"):
        pipe.execute()
    pipe.set("a", 1).lpush("a", 1).get("a")
    first, second, third = pipe.execute(raise_on_error=False)
    assert (first, third) == (True, "1")
    assert isinstance(second, redis.ResponseError)


def test_a_command_the_server_cannot_queue_stops_its_shards_transaction(client: Any) -> None:
    pipe = client.pipeline()
    pipe.set("a", 1).execute_command("GET")
    with pytest.raises(redis.ResponseError, match=r"Command # 2 .*wrong number of arguments"):
        pipe.execute()


def test_a_transaction_is_for_one_shard(client: Any) -> None:
    pipe = client.pipeline(transaction=True)
    pipe.set("{t}a", 1).incr("{t}a")
    assert pipe.execute() == [True, 2]
    pipe.set("a", 1).set("b", 1)
    with pytest.raises(cachemesh.CrossShardError, match="one hash tag"):
        pipe.execute()
    assert client.exists("a", "b") == 0, "nothing was sent"


def test_what_a_pipeline_makes_is_the_clients(client: Any) -> None:
    keys = [f"k{i}" for i in range(20)]
    client.mset({key: key for key in keys})
    with client.pipeline() as pipe:
        pipe.watch("k0")
        with pipe.pipeline() as inner:
            for key in keys:
                inner.get(key).set(key, "new")
            assert inner.execute() == [value for key in keys for value in (key, True)]
        assert client.mget(keys) == ["new"] * 20
        with pipe.pubsub(ignore_subscribe_messages=True) as pubsub:
            pubsub.subscribe(*keys)
            assert [client.publish(key, "there?") for key in keys] == [1] * 20
        with pipe.client() as single:
            assert single.mget(keys) == ["new"] * 20
        with pytest.raises(cachemesh.UnsupportedCommandError, match="several"):
            pipe.monitor()


def test_watch(client: Any) -> None:
    with client.pipeline() as pipe:
        pipe.watch("{t}a")
        client.set("{t}a", "other")
        pipe.multi()
        pipe.set("{t}a", "mine")
        with pytest.raises(redis.WatchError):
            pipe.execute()
    with client.pipeline() as pipe:
        pipe.watch("{t}a")
        assert pipe.get("{t}a") == "other"
        with pytest.raises(cachemesh.CrossShardError):
            pipe.get("b")
        pipe.multi()
        pipe.set("{t}a", "mine")
        assert pipe.execute() == [True]

    def add(pipe: Any) -> None:
        value = int(pipe.get("n") or 0)
        pipe.multi()
        pipe.set("n", value + 1)

    threads = [
        threading.Thread(target=lambda: [client.transaction(add, "n") for _ in range(20)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get("n") == "80"


def test_scripts_in_a_pipeline_are_loaded_on_every_shard(client: Any) -> None:
    script = client.register_script("return redis.call('incrby', KEYS[1], ARGV[1])")
    client.script_flush()
    pipe = client.pipeline()
    for i in range(12):
        script(keys=[f"k{i}"], args=[i], client=pipe)
    assert pipe.execute() == list(range(12))


def test_blocking_commands_may_take_longer_than_the_timeout(stack: LocalStack) -> None:
    with CacheMesh.from_url(stack.info["url"], socket_timeout=1.0) as mesh:
        assert mesh.blpop("queue", timeout=1.2) is None
        pushed = threading.Timer(1.2, lambda: mesh.rpush("queue", "x"))
        pushed.start()
        assert mesh.blpop("queue", timeout=0) in ((b"queue", b"x"), [b"queue", b"x"])
        pushed.join()
        assert mesh.xread({"stream": "$"}, block=1200) in ([], {})
        with pytest.raises(cachemesh.ShardTimeoutError) as caught:
            mesh.eval("while true do end", 1, "queue")
        assert isinstance(caught.value, redis.TimeoutError)
        assert isinstance(caught.value, redis.ConnectionError)
    host, port = stack.info["shards"][0]["master"].split(":")
    for shard in stack.info["shards"]:
        host, port = shard["master"].split(":")
        with redis.Redis(host, int(port)) as direct:
            try:
                direct.script_kill()
            except redis.ResponseError:
                pass  # not the shard where the script runs


def test_pubsub_over_shards(client: Any) -> None:
    channels = ["a", "b", "c", "d"]
    assert len({client.shard_for(channel) for channel in channels}) == 3
    with client.pubsub() as pubsub:
        pubsub.subscribe(*channels)
        pubsub.psubscribe("x*")
        kinds = [pubsub.get_message(timeout=AT_MOST)["type"] for _ in range(5)]
        assert kinds == ["subscribe"] * 4 + ["psubscribe"]
        assert [client.publish(channel, "hello") for channel in [*channels, "x1"]] == [1] * 5
        messages = [pubsub.get_message(timeout=AT_MOST) for _ in range(5)]
        got = {message["channel"]: message["data"] for message in messages}
        assert got == dict.fromkeys([*channels, "x1"], "hello")
        assert pubsub.get_message(timeout=0.05) is None
        pubsub.unsubscribe("a")
        assert pubsub.get_message(timeout=AT_MOST)["type"] == "unsubscribe"
        assert client.publish("a", "nobody") == 0
        assert set(pubsub.channels) == {b"b", b"c", b"d"}
    until(lambda: client.publish("b", "nobody") == 0)  # the server has to hear of it


def test_pubsub_handlers_run_in_a_thread(client: Any) -> None:
    got: list[dict[str, Any]] = []
    heard = threading.Event()

    def handler(message: dict[str, Any]) -> None:
        got.append(message)
        heard.set()

    pubsub = client.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe(news=handler)
    thread = pubsub.run_in_thread(0.01)
    client.publish("news", "1")
    assert heard.wait(AT_MOST)
    thread.stop()
    thread.join(AT_MOST)
    assert [m["data"] for m in got] == ["1"]
    pubsub = client.pubsub()
    pubsub.subscribe("plain")
    with pytest.raises(redis.exceptions.PubSubError, match="no handler"):
        pubsub.run_in_thread()
    pubsub.close()


def test_subscriptions_follow_a_failover(stack: LocalStack, client: Any) -> None:
    shard = client.shard_for("news")
    with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe("news")
        process = stack.process(stack.master_of(shard))
        keep_masters(stack, milliseconds=1000)
        process.kill(signal.SIGKILL)

        def heard() -> Any:
            try:
                message = pubsub.get_message(timeout=0.1)
                client.publish("news", "still here")
            except cachemesh.ShardUnavailableError:
                return None
            return message

        assert until(heard)["data"] == "still here"
        process.restart()
    keep_masters(stack)


def test_monitor_is_refused_with_a_reason(client: Any) -> None:
    with pytest.raises(cachemesh.UnsupportedCommandError, match="one server"):
        client.monitor()
