"""Clients of either kind while keys move: each command finds its keys, and none is lost or back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh.core.errors import CrossShardError, ShardUnavailableError
from cachemesh.core.migration.phase import Migration
from cachemesh.core.migration.settled import SettledKeys
from cachemesh.core.placement import Placement, Shard, SlotsPlacement
from cachemesh.local import LocalStack, Process
from tests.support.both_clients import CLIENTS, Caller, calling
from tests.support.plain_redis import direct
from tests.support.resizable_pool import ResizablePool
from tests.support.sentinels import keep_masters
from tests.support.waiting import AT_MOST, until

KEYS = [f"key:{number}" for number in range(60)]
VALUES = {key: f"value of {key}".encode() for key in KEYS}
LONG = {"socket_timeout": AT_MOST}


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=3, replicas=1, sentinels=1, metaservers=0, dashboard=False) as stack:
        keep_masters(stack)  # also where a busy machine lets them wait
        yield stack


def emptied(stack: LocalStack) -> list[Process]:
    """Return the masters, once they are empty."""
    masters = [stack.process(shard["master"]) for shard in stack.info["shards"]]
    for master in masters:
        with direct(master) as shard:
            shard.flushall()
    return masters


class Moved:
    """A pool that is written phase by phase, and a client of it.

    Args:
        call: the client.
        before, after: P and Q.
        stages: how many there are.
    """

    def __init__(
        self,
        pool: ResizablePool,
        call: Caller,
        before: Placement,
        after: Placement,
        stages: int = 1,
    ) -> None:
        self.pool, self.call = pool, call
        self.before, self.after = before, after
        self.migration = Migration(
            "prepare", after, moves=True, stages=stages, replicas=dict.fromkeys(pool.masters, 1)
        )
        self.keys = [key for key in KEYS if before.shard_for(key) != after.shard_for(key)]
        assert self.keys

    def prepare(self, **changes: Any) -> None:
        """Have the client hold commands on keys that move."""
        self.migration = replace(self.migration, phase="prepare", **changes)
        self._write(self.migration)
        until(self.call.mesh._core.drained)

    def move(self, **changes: Any) -> None:
        """Have keys move."""
        self.migration = replace(self.migration, phase="move", **changes)
        self._write(self.migration)

    def begin(self) -> None:
        """Prepare the first stage, and have its keys move."""
        self.prepare()
        self.move()

    def finish(self, placement: Placement | None = None) -> None:
        """End the migration, in Q or in another placement."""
        version = self.pool.write(placement or self.after)
        self._await(version)

    def at(self, placement: Placement, key: str) -> Any:
        """Return a key's value on the shard that owns it in a placement."""
        with self.server(placement, key) as shard:
            return shard.get(key)

    def server(self, placement: Placement, key: str) -> AbstractContextManager[redis.Redis]:
        """Return a client of the master that owns a key in a placement."""
        host, port = self.pool.masters[placement.shard_for(key)]
        return direct(f"{host}:{port}")

    def keys_retired(self) -> bool:
        """Return whether the shards that keys move between are retired."""
        return bool(self.call.mesh._core._retired) and all(
            shard.retired for shard in self.call.mesh._core._retired
        )

    def _write(self, migration: Migration) -> None:
        self._await(self.pool.write(self.before, migration))

    def _await(self, version: int) -> None:
        core = self.call.mesh._core
        core.membership.fetch(version)  # else the file is looked at once a second
        until(lambda: core.acts_on(version))


@pytest.fixture(params=CLIENTS)
def moved(request: pytest.FixtureRequest, stack: LocalStack, tmp_path: Path) -> Iterator[Moved]:
    masters = emptied(stack)
    with ResizablePool(masters, tmp_path) as pool, calling(request.param, pool.url, **LONG) as call:
        call(lambda mesh: mesh.mset(VALUES))
        yield Moved(pool, call, pool.small, pool.large)


def test_each_command_finds_its_keys(moved: Moved) -> None:
    first, second, third, *others = moved.keys
    moved.begin()
    client = moved.call.driven
    assert client.get(first) == VALUES[first]
    assert moved.at(moved.before, first) == VALUES[first].decode(), "reads do not move it"
    assert client.append(first, "") == len(VALUES[first])
    assert moved.at(moved.before, first) is None
    assert moved.at(moved.after, first) == VALUES[first].decode()
    assert client.get(first) == VALUES[first]
    assert client.append(second, "+") == len(VALUES[second]) + 1
    assert client.delete(third) == 1
    assert client.get(third) is None
    assert client.mget(KEYS) == [
        None if key == third else VALUES[key] + b"+" * (key == second) for key in KEYS
    ]
    assert all(moved.at(moved.before, key) is None for key in moved.keys)
    assert client.mset(VALUES)
    moved.finish()
    assert client.mget(KEYS) == list(VALUES.values())
    assert others


def test_a_read_of_a_key_that_somebody_else_has_moved_or_removed(moved: Moved) -> None:
    first, second, third, *_ = moved.keys
    moved.begin()
    with moved.server(moved.before, first) as source, moved.server(moved.after, first) as target:
        source.delete(first)
        target.set(first, "moved")
    with moved.server(moved.before, second) as source:
        source.delete(second)
    client = moved.call.driven
    assert client.get(first) == b"moved"
    assert client.get(second) is None
    assert client.strlen(third) == len(VALUES[third])
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.llen(third)
    assert moved.at(moved.before, third) == VALUES[third].decode()


def test_many_reads_at_once_share_a_connection(stack: LocalStack, tmp_path: Path) -> None:
    masters = emptied(stack)
    with (
        ResizablePool(masters, tmp_path) as pool,
        calling("asyncio", pool.url, **LONG) as call,
    ):
        call.driven.mset(VALUES)
        moved = Moved(pool, call, pool.small, pool.large)
        moved.begin()

        async def read_all(mesh: Any) -> list[Any]:
            return list(await asyncio.gather(*(mesh.get(key) for key in moved.keys * 20)))

        def connections() -> int:
            with moved.server(moved.before, moved.keys[0]) as source:
                return int(source.info("clients")["connected_clients"])

        call.driven.get(moved.keys[0])
        before = connections()
        assert call(read_all) == [VALUES[key] for key in moved.keys * 20]
        assert connections() == before


def test_a_key_that_the_source_has_got_back_is_read_at_the_target(moved: Moved) -> None:
    """As after a restart from a file: with a pull, too, what the target has stays."""
    key = moved.keys[0]
    moved.begin()
    client = moved.call.driven
    client.set(key, "new")
    with moved.server(moved.before, key) as source:
        source.set(key, "of long ago")
    moved.call.mesh._core._stage.settled = SettledKeys()
    assert client.get(key) == b"new"


def test_a_write_without_a_read_before_it(moved: Moved) -> None:
    first, second, *_ = moved.keys
    moved.begin()
    client = moved.call.driven
    client.set(first, "new")
    assert client.set(second, "new", nx=True) is None
    assert moved.at(moved.before, first) is None
    moved.finish()
    assert client.mget(first, second) == [b"new", VALUES[second]]


def test_pipelines_and_transactions(moved: Moved) -> None:
    moved.begin()
    client = moved.call.driven

    def piped(mesh: Any) -> Any:
        pipe = mesh.pipeline(transaction=False)
        for key in KEYS[:30]:
            pipe.get(key).append(key, "+")
        return pipe.mget(KEYS[:40]).dbsize().execute()

    replies = moved.call(piped)
    assert replies[:60:2] == [VALUES[key] for key in KEYS[:30]]
    assert replies[60] == [VALUES[key] + b"+" * (n < 30) for n, key in enumerate(KEYS[:40])]
    assert replies[61] == len(KEYS)
    key = next(key for key in moved.keys if key in KEYS[30:])
    made = moved.call(lambda mesh: mesh.pipeline(transaction=True).get(key).set(key, 1).execute())
    assert made == [VALUES[key], True]
    last = [key for key in moved.keys if key in KEYS[30:]][-1]

    def change(pipe: Any) -> None:
        pipe.multi()
        pipe.get(last).set(last, "changed")

    assert moved.call(lambda mesh: mesh.transaction(change, last)) == [VALUES[last], True]
    assert client.get(last) == b"changed"


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


def test_a_pull_that_outlasts_the_move_is_no_error(moved: Moved, stack: LocalStack) -> None:
    key = moved.keys[0]
    shard = stack.info["shards"][int(moved.before.shard_for(key)[-1])]
    moved.begin()
    replica = stack.process(shard["replicas"][0])
    with ThreadPoolExecutor(1) as threads:
        replica.pause()
        try:
            asked = threads.submit(moved.call, lambda mesh: mesh.append(key, "+"))
            with moved.server(moved.after, key) as target:
                until(lambda: target.exists(key))
            moved.finish()
            assert asked.result(AT_MOST) == len(VALUES[key]) + 1
        finally:
            replica.resume()


def test_scripts(moved: Moved) -> None:
    key = moved.keys[0]
    moved.begin()
    read = "return redis.call('GET', KEYS[1])"
    assert moved.call.driven.eval(read, 1, key) == VALUES[key]
    tagged = [f"{{{moved.keys[1]}}}:{n}" for n in range(3)]
    assert moved.call.driven.eval(
        "return redis.call('MSET', KEYS[1], 1, KEYS[2], 2)", 2, *tagged[:2]
    )
    assert moved.call.driven.mget(tagged) == [b"1", b"2", None]


def test_keys_of_one_shard_before_are_refused_where_two_have_them_after(moved: Moved) -> None:
    source = moved.before.shard_for(moved.keys[0])
    stays = next(
        key for key in KEYS if moved.before.shard_for(key) == source == moved.after.shard_for(key)
    )
    moved.begin()
    with pytest.raises(CrossShardError):
        moved.call.driven.eval("return 1", 2, moved.keys[0], stays)


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


def test_a_scan_misses_no_key(moved: Moved) -> None:
    moved.begin()
    client, left = moved.call.driven, list(moved.keys)
    cursor, seen = 0, list[bytes]()
    while True:
        cursor, keys = client.scan(cursor, count=3)
        seen += keys
        for key in left[:4]:  # keys move while it goes on
            assert client.get(key) == VALUES[key]
        del left[:4]
        if cursor == 0:
            break
    assert set(seen) == {key.encode() for key in KEYS}


def test_commands_for_all_shards(moved: Moved) -> None:
    moved.begin()
    client = moved.call.driven
    client.mget(moved.keys[::2])
    assert sorted(client.keys("key:*")) == sorted(key.encode() for key in KEYS)
    assert client.dbsize() == len(KEYS)
    assert client.randomkey().decode() in KEYS
    assert client.flushdb()
    assert client.mget(KEYS) == [None] * len(KEYS)
    assert client.dbsize() == 0


def test_keys_that_have_moved_move_back(moved: Moved) -> None:
    first, second, third, *_ = moved.keys
    moved.begin()
    client = moved.call.driven
    client.set(first, "new")
    client.delete(second)
    moved.prepare(back=True)
    moved.move()
    assert client.mget(first, second, third) == [b"new", None, VALUES[third]]
    assert moved.at(moved.after, first) is None
    client.set(second, "again")
    moved.finish(moved.before)
    assert client.mget(first, second, third) == [b"new", b"again", VALUES[third]]


def test_what_is_done_is_not_asked_for_at_the_source(moved: Moved) -> None:
    moved.begin()
    client = moved.call.driven
    assert client.mget(KEYS) == list(VALUES.values())
    key = moved.keys[0]
    moved.move(done=frozenset(moved.before.names))
    with moved.server(moved.before, key) as source:
        source.set(key, "written by somebody who is not told")
    assert client.get(key) == VALUES[key]


def test_two_stages(stack: LocalStack, tmp_path: Path) -> None:
    """Slots that are dealt otherwise: shards exchange keys."""
    masters = emptied(stack)
    names = [f"cache-{n}" for n in range(3)]
    with ResizablePool(masters, tmp_path) as pool, calling("sync", pool.url, **LONG) as call:
        before = SlotsPlacement.even([Shard(name) for name in names])
        after = SlotsPlacement.even([Shard(name) for name in [*names[1:], names[0]]])
        client = call.driven
        client.ping()
        version = pool.write(before)
        until(lambda: call.mesh._core.acts_on(version))
        client.mset(VALUES)
        moved = Moved(pool, call, before, after, stages=2)
        moved.begin()
        assert client.mget(KEYS) == list(VALUES.values())
        early = [key for key in moved.keys if moved.at(after, key) is not None]
        assert early and len(early) < len(moved.keys)
        client.mset(dict.fromkeys(early, "new"))
        moved.prepare(stage=1)
        moved.move()
        expected = [b"new" if key in early else VALUES[key] for key in KEYS]
        assert client.mget(KEYS) == expected
        assert all(moved.at(before, key) is None for key in moved.keys)
        moved.finish()
        assert client.mget(KEYS) == expected


def test_a_target_without_room(moved: Moved) -> None:
    key = moved.keys[0]
    moved.begin()
    with moved.server(moved.after, key) as target:
        target.config_set("maxmemory", 1)
        try:
            assert moved.call.driven.get(key) == VALUES[key]
            with pytest.raises(redis.exceptions.OutOfMemoryError, match="has room"):
                moved.call.driven.append(key, "+")
        finally:
            target.config_set("maxmemory", 0)
    assert moved.call.driven.append(key, "+") == len(VALUES[key]) + 1


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("options", [{"socket_timeout": None}, {"decode_responses": True}])
def test_clients_with_other_options(
    kind: str, options: dict[str, Any], stack: LocalStack, tmp_path: Path
) -> None:
    masters = emptied(stack)
    with (
        ResizablePool(masters, tmp_path) as pool,
        calling(kind, pool.url, **options) as call,
    ):
        client = call.driven
        client.mset(VALUES)
        moved = Moved(pool, call, pool.small, pool.large)
        moved.begin()
        expected = list(VALUES.values())
        if options.get("decode_responses"):
            assert client.mget(KEYS) == [value.decode() for value in expected]
        else:
            assert client.mget(KEYS) == expected


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_replica_that_does_not_acknowledge_is_told_in_time(
    kind: str, stack: LocalStack, tmp_path: Path
) -> None:
    masters = emptied(stack)
    with (
        ResizablePool(masters, tmp_path) as pool,
        calling(kind, pool.url, socket_timeout=1.0) as call,
    ):
        call.warm(lambda mesh: mesh.mset(VALUES))
        moved = Moved(pool, call, pool.small, pool.large)
        key = moved.keys[0]
        moved.begin()
        shard = stack.info["shards"][int(moved.before.shard_for(key)[-1])]
        replica = stack.process(shard["replicas"][0])
        replica.pause()
        try:
            told, _ = call.timed(lambda mesh: mesh.append(key, "+"))
            assert isinstance(told, ShardUnavailableError)
            assert "moving from shard" in str(told) and "replicas of the source" in str(told)
            assert call(lambda mesh: mesh.with_options(on_error="miss").mget([key])) == [None]
            assert call.driven.get(moved.keys[1]) == VALUES[moved.keys[1]]
        finally:
            replica.resume()
        call.warm(lambda mesh: mesh.append(key, ""))
        assert call.driven.get(key) == VALUES[key]
