"""Clients of either kind while keys move: each command finds its keys, and none is lost or back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis

from cachemesh.core.errors import CrossShardError, ShardUnavailableError
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.topology import Topology
from cachemesh.core.rerouting import ShardRetiredError
from cachemesh.local import LocalStack
from tests.support.both_clients import CLIENTS, calling
from tests.support.moved_keys import KEYS, LONG, VALUES, Moved, emptied, filled
from tests.support.resizable_pool import ResizablePool
from tests.support.waiting import AT_MOST, until


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


@pytest.mark.parametrize("back", [False, True])
def test_what_removes_all_keys_waits_until_it_can_reach_them(moved: Moved, back: bool) -> None:
    core, held = moved.call.mesh._core, threading.Event()
    hold_over = core.hold_over

    def noted(deadline: float) -> Any:
        held.set()
        return hold_over(deadline)

    if back:
        moved.begin()
    moved.prepare(back=back)
    core.hold_over = noted
    with ThreadPoolExecutor(1) as threads:
        flushed = threads.submit(moved.call, lambda mesh: mesh.flushdb())
        until(lambda: held.is_set() or flushed.done())
        assert held.is_set() and not flushed.done()
        moved.move()
        assert flushed.result(AT_MOST)
    assert moved.call.driven.dbsize() == 0


def test_a_listing_begins_again_where_keys_begin_to_go_the_other_way(moved: Moved) -> None:
    moved.begin()
    mesh = moved.call.mesh
    route_table = mesh._core.route_table
    moved.prepare(back=True)
    with pytest.raises(ShardRetiredError):
        moved.call(lambda mesh: mesh._execute_planned(("KEYS", "*"), route_table, True))
    assert sorted(moved.call.driven.keys()) == sorted(key.encode() for key in KEYS)


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
def test_a_replica_that_does_not_acknowledge_is_told_in_time(
    kind: str, stack: LocalStack, tmp_path: Path
) -> None:
    with filled(kind, stack, tmp_path, socket_timeout=1.0) as moved:
        call, key = moved.call, moved.keys[0]
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


def test_a_client_that_cannot_take_over_a_document_yet_holds_up_the_resize(
    moved: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, tried = moved.call.mesh._core, list[int]()
    membership, apply, fails = core.membership, core.apply, [True]

    def applied(topology: Topology, closings: int) -> None:
        tried.append(topology.document.version)
        if fails:
            raise RuntimeError("can't start new thread")
        apply(topology, closings)

    monkeypatch.setattr(core, "apply", applied)
    version = moved.pool.write(moved.before, moved.migration)
    until(lambda: version in tried and not membership._listener_lock.locked())
    assert not core.holds
    assert not membership.drained(), "it would acknowledge the preparation"
    fails.clear()
    until(lambda: core.holds)
    until(membership.drained)
    moved.move()
    assert moved.call.driven.mget(KEYS) == list(VALUES.values())
