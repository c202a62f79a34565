"""What waits when keys begin to move: watched keys, commands that block, subscriptions."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import redis

from cachemesh.transport.aio.connection import Connection as AsyncConnection
from cachemesh.transport.sync.instance import Instance
from tests.support.moved_keys import KEYS, VALUES, Moved
from tests.support.waiting import AT_MOST, until


def test_what_watches_a_key_when_keys_begin_to_move_fails(moved: Moved) -> None:
    key = moved.keys[0]
    pipe = moved.call.drive(moved.call.mesh.pipeline())
    pipe.watch(key)
    moved.migration = replace(moved.migration, phase="prepare")
    moved._write(moved.migration)
    pipe.it.multi()
    pipe.it.set(key, "not set")
    with pytest.raises(redis.WatchError):
        pipe.execute()
    moved.prepare()
    moved.move()
    assert moved.call.driven.get(key) == VALUES[key]


def test_what_was_left_while_it_watches_is_not_waited_for(moved: Moved) -> None:
    moved.call(lambda mesh: mesh.pipeline().watch(moved.keys[0]))
    gc.collect()
    moved.begin()
    assert moved.call.driven.append(moved.keys[0], "+") == len(VALUES[moved.keys[0]]) + 1


def test_a_transaction_that_reads_first_is_repeated(moved: Moved) -> None:
    """Between WATCH and MULTI a resize begins: the pipeline finds the shard of now."""
    key, begun = moved.keys[0], list[str]()
    mesh = moved.call.mesh

    def begin() -> None:
        if not begun:
            begun.append("prepared")
            moved.migration = replace(moved.migration, phase="prepare")
            moved.pool.write(moved.before, moved.migration)
            until(lambda: mesh._core.holds)
            until(lambda: moved.keys_retired())
            threads.submit(go_on)

    def go_on() -> None:
        until(mesh._core.drained)
        moved.move()

    def change(pipe: Any) -> Any:
        begin()
        value = pipe.get(key)
        pipe.multi()
        pipe.set(key, value + b"+")

    async def change_async(pipe: Any) -> Any:
        await asyncio.to_thread(begin)
        value = await pipe.get(key)
        pipe.multi()
        pipe.set(key, value + b"+")

    with ThreadPoolExecutor(1) as threads:
        how = change if moved.call.loop is None else change_async
        assert moved.call(lambda mesh: mesh.transaction(how, key)) == [True]
    assert moved.call.driven.get(key) == VALUES[key] + b"+"


def test_a_resize_that_begins_before_a_key_is_watched_is_seen(moved: Moved) -> None:
    """The pipeline has found the shard that loses the key, and has sent nothing yet."""
    key = moved.keys[0]
    pipeline = moved.call.mesh.pipeline(True)
    bound = pipeline._bound

    def begin(home: Any) -> Any:
        del pipeline._bound
        moved.begin()
        assert home.retired
        return home

    async def begin_async(commands: Any) -> Any:
        return await asyncio.to_thread(begin, await bound(commands))

    pipeline._bound = begin_async if moved.call.loop else lambda commands: begin(bound(commands))
    pipe = moved.call.drive(pipeline)
    pipe.watch(key)
    assert pipe.get(key) == VALUES[key]
    pipe.it.multi()
    pipe.it.append(key, "+")
    assert pipe.execute() == [len(VALUES[key]) + 1]


WRITES: dict[str, Callable[[Any, str], Any]] = {
    "a command": lambda mesh, key: mesh.append(key, "+"),
    "a pipeline": lambda mesh, key: mesh.pipeline(transaction=False).append(key, "+").execute(),
    "a transaction": lambda mesh, key: mesh.pipeline(transaction=True).append(key, "+").execute(),
}


@pytest.mark.parametrize("name", WRITES)
def test_the_hold_and_the_pull_of_a_command_share_its_time(moved: Moved, name: str) -> None:
    core: Any = moved.call.mesh._core
    key, until_when = moved.keys[0], list[float]()
    hold_over, settle = core.hold_over, core._settle

    def held(deadline: float) -> Any:
        until_when.append(deadline)
        return hold_over(deadline)

    def settled(moving: Any, deadline: float, in_part: bool) -> Any:
        until_when.append(deadline)
        return settle(moving, deadline, in_part)

    moved.prepare()
    core.hold_over, core._settle = held, settled
    with ThreadPoolExecutor(1) as threads:
        written = threads.submit(moved.call, lambda mesh: WRITES[name](mesh, key))
        until(lambda: until_when or written.done())
        moved.move()
        assert written.result(AT_MOST) in (len(VALUES[key]) + 1, [len(VALUES[key]) + 1])
    assert len(until_when) == 2 and len(set(until_when)) == 1


def test_a_command_that_was_routed_too_early_waits_for_nothing_if_its_key_stays(
    moved: Moved,
) -> None:
    core: Any = moved.call.mesh._core
    stays = next(key for key in KEYS if key not in moved.keys)
    former, loaded = [core.route_table], core.loaded
    moved.prepare()

    async def loaded_async() -> Any:
        return former.pop() if former else await loaded()

    def held(_: float) -> Any:
        raise AssertionError("the preparation does not end")

    core.loaded = loaded_async if moved.call.loop else lambda: former.pop() if former else loaded()
    core.hold_over = held
    append = "return redis.call('APPEND', KEYS[1], '+')"
    assert moved.call.driven.eval(append, 1, stays) == len(VALUES[stays]) + 1
    assert not former


def test_a_command_that_blocks_may_wait_each_time_it_is_sent_anew(moved: Moved) -> None:
    core: Any = moved.call.mesh._core
    queue, until_when, settle = moved.keys[0], list[float](), core._settle

    def settled(moving: Any, deadline: float, in_part: bool) -> Any:
        until_when.append(deadline)
        return settle(moving, deadline, in_part)

    def blocks(at: Any) -> None:
        with moved.server(at, queue) as shard:
            until(lambda: shard.info("clients")["blocked_clients"] == 1)

    core._settle = settled
    moved.call.driven.delete(queue)
    with ThreadPoolExecutor(1) as threads:
        popped = threads.submit(moved.call, lambda mesh: mesh.blpop([queue], timeout=0))
        blocks(moved.before)
        moved.begin()
        blocks(moved.after)
        before = time.monotonic()
        moved.prepare(back=True)
        moved.move()
        blocks(moved.before)
        moved.call.driven.rpush(queue, "item")
        assert popped.result(AT_MOST) == (queue.encode(), b"item")
    assert until_when[1] >= before + AT_MOST > until_when[0]


def test_sizes_of_shards_that_a_resize_has_just_retired(moved: Moved) -> None:
    mesh: Any = moved.call.mesh
    moved.call.driven.ping()
    former = [mesh._core.route_table]
    moved.prepare()

    def route_table() -> Any:
        return former.pop() if former else mesh._core.route_table

    async def route_table_async() -> Any:
        return route_table()

    mesh.route_table = route_table_async if moved.call.loop else route_table
    assert sum(moved.call.driven.dbsize_per_shard().values()) == len(VALUES)
    assert not former


def test_connections_of_a_shard_that_was_just_retired_go_to_its_master(moved: Moved) -> None:

    def where(shard: Any, _: Any) -> Any:
        return shard.where(None)

    core = moved.call.mesh._core
    with_a_pool, without = (core.shards()[name] for name in ("cache-0", "cache-1"))
    before = [with_a_pool.master, without.master]
    pool = with_a_pool.pool
    moved.prepare()
    found = [moved.call(partial(where, shard)) for shard in (with_a_pool, without)]
    assert with_a_pool.master is without.master is None
    assert found == before
    assert core.shards()["cache-0"].pool is with_a_pool.pool is pool
    assert core.shards()["cache-1"].pool is without.pool


def test_a_command_that_blocks_on_a_key_that_stays_is_left_alone(moved: Moved) -> None:
    names = [f"queue:{n}" for n in range(100)]
    source = moved.before.shard_for(moved.keys[0])
    stays = next(
        name
        for name in names
        if moved.before.shard_for(name) == moved.after.shard_for(name) == source
    )
    with ThreadPoolExecutor(1) as threads, moved.server(moved.before, stays) as shard:
        popped = threads.submit(moved.call, lambda mesh: mesh.blpop([stays], timeout=0))
        until(lambda: shard.info("clients")["blocked_clients"] == 1)
        waiting = {each["id"] for each in shard.client_list() if each["cmd"] == "blpop"}
        moved.begin()
        moved.finish()
        assert {each["id"] for each in shard.client_list() if each["cmd"] == "blpop"} == waiting
        moved.call.driven.rpush(stays, "item")
        assert popped.result(AT_MOST) == (stays.encode(), b"item")


def test_a_command_that_blocks_goes_on_at_the_target(moved: Moved) -> None:
    queue = next(
        name
        for name in (f"queue:{n}" for n in range(100))
        if moved.before.shard_for(name) != moved.after.shard_for(name)
    )
    with ThreadPoolExecutor(1) as threads:
        popped = threads.submit(moved.call, lambda mesh: mesh.blpop([queue], timeout=0))
        with moved.server(moved.before, queue) as shard:
            until(lambda: shard.info("clients")["blocked_clients"] == 1)
        moved.begin()
        with moved.server(moved.after, queue) as shard:
            until(lambda: shard.info("clients")["blocked_clients"] == 1)
        moved.call.driven.rpush(queue, "item")
        assert popped.result(AT_MOST) == (queue.encode(), b"item")


def test_a_command_that_blocks_on_a_stream_goes_on_where_others_have_moved_that(
    moved: Moved,
) -> None:
    """They have it moved before this client knows: the server ends the wait with an error."""
    stream, group = moved.keys[0], ("g", "consumer", {moved.keys[0]: ">"})
    client = moved.call.driven
    client.delete(stream)
    client.xgroup_create(stream, "g", mkstream=True)
    with (
        ThreadPoolExecutor(1) as threads,
        moved.server(moved.before, stream) as source,
        moved.server(moved.after, stream) as target,
    ):
        read = threads.submit(moved.call, lambda mesh: mesh.xreadgroup(*group, block=0))
        until(lambda: source.info("clients")["blocked_clients"] == 1)
        moved.prepare()
        target.xgroup_create(stream, "g", mkstream=True)
        source.xgroup_destroy(stream, "g")  # answers as UNLINK does from Redis 7.2 on: NOGROUP
        source.unlink(stream)
        until(lambda: source.info("clients")["blocked_clients"] == 0)
        moved.move()
        until(lambda: read.done() or target.info("clients")["blocked_clients"] == 1)
        added = client.xadd(stream, {"field": "value"})
        assert read.result(AT_MOST) == [[stream.encode(), [(added, {b"field": b"value"})]]]


class HeldBack:
    """Commands with a word in them are not sent before a test says so, by clients of either kind.

    Attributes:
        about: one is about to be sent.
        goes_on: all are sent from now on.
    """

    def __init__(self, patch: pytest.MonkeyPatch, word: bytes) -> None:
        self.about, self.goes_on = about, goes_on = threading.Event(), threading.Event()
        ask_on, flush = Instance.ask_on, AsyncConnection._flush

        def preempted(instance: Any, connection: Any, payload: bytes, *rest: Any) -> Any:
            if word in payload:
                about.set()
                goes_on.wait(AT_MOST)
            return ask_on(instance, connection, payload, *rest)

        def waiting(connection: Any) -> None:
            if goes_on.is_set() or not any(word in payload for payload in connection.out):
                flush(connection)
                return
            about.set()
            connection._loop.call_later(0.01, connection._flush)

        patch.setattr(Instance, "ask_on", preempted)
        patch.setattr(AsyncConnection, "_flush", waiting)


def test_a_command_that_may_block_is_under_way_until_it_is_sent(
    moved: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it could take what others have copied to the target meanwhile."""
    queue = moved.keys[0]
    moved.call.driven.delete(queue)
    moved.call.driven.rpush(queue, "a", "b")
    sending = HeldBack(monkeypatch, b"BLPOP")
    with ThreadPoolExecutor(1) as threads:
        popped = threads.submit(moved.call, lambda mesh: mesh.blpop([queue], timeout=0))
        try:
            assert sending.about.wait(AT_MOST)
            moved._write(moved.migration)
            until(moved.keys_retired)
            assert not moved.call.mesh._core.drained()
        finally:
            sending.goes_on.set()
        assert popped.result(AT_MOST) == (queue.encode(), b"a")
        moved.begin()
        assert moved.call.driven.lrange(queue, 0, -1) == [b"b"]


def test_messages_arrive_before_during_and_after(moved: Moved) -> None:
    channel = moved.keys[0]
    pubsub = moved.call.drive(moved.call.mesh.pubsub(ignore_subscribe_messages=True))
    pubsub.subscribe(channel)

    def said(text: str) -> None:
        assert moved.call.driven.publish(channel, text) == 1

        def heard() -> Any:
            return pubsub.get_message(timeout=0.1)

        assert until(heard)["data"] == text.encode()

    said("before")
    moved.prepare()
    pubsub.get_message()
    moved.move()
    said("during")
    moved.finish()
    said("after")
    pubsub.close()
