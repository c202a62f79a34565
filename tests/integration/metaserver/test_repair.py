"""Repair of what real Sentinels monitor."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cachemesh.local import LocalStack
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.pool_pause import PoolPause, paused, resumed
from metaserver.domain.pool_state import NewIntent
from metaserver.loops.repair import Repair
from metaserver.process.config import RedisAuth
from metaserver.process.identity import process_identity
from metaserver.redis_io.sentinel_group import SentinelGroup
from metaserver.store.sqlite import SqliteStore
from tests.support import metaserver_loops
from tests.support.metaserver_loops import NETWORKS, Clock, actions, running
from tests.support.sentinels import keep_masters
from tests.support.waiting import until

NOBODY = RedisAuth()
DEAD_OWNER = f"{process_identity().rpartition(':')[0]}:1"  # this pid, but another process


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, metaservers=0, dashboard=False, down_after_ms=500) as stack:
        keep_masters(stack)
        yield stack


@pytest.fixture
def store(stack: LocalStack, tmp_path: Path) -> Iterator[SqliteStore]:
    with metaserver_loops.store_with_pool(tmp_path, stack) as store:
        yield store


@pytest.fixture
def sentinels(stack: LocalStack) -> Iterator[SentinelGroup]:
    with metaserver_loops.sentinels(stack) as sentinels:
        yield sentinels


def repair(
    store: SqliteStore, directory: Path, clock: Callable[[], float] = time.monotonic
) -> Repair:
    return Repair(store, metaserver_loops.config(directory), networks=NETWORKS, clock=clock)


def seen_by(sentinels: SentinelGroup, shard: str) -> dict[str, str]:
    """Return Sentinel -> master, of the Sentinels that know the shard."""
    views = sentinels.views([shard])
    return {at: view.shards[shard].master for at, view in views.items() if shard in view.shards}


def intend(store: SqliteStore, stack: LocalStack, owner: str) -> None:
    """Have all Sentinels monitor a spare master as "half", with an intent in the store."""
    master = str(stack.start_redis().address)
    addresses = tuple(stack.info["sentinels"])
    intent = NewIntent("cache", "half", master, "add", addresses, owner)
    assert store.add_intent(intent) is not None
    with metaserver_loops.sentinels(stack) as sentinels:
        assert sentinels.register("half", master, 2, NOBODY).failed == {}


def test_nothing_is_done_where_nothing_is_wrong(
    store: SqliteStore, sentinels: SentinelGroup, stack: LocalStack, tmp_path: Path
) -> None:
    foreign = str(stack.start_redis().address)
    sentinels.register("foreign", foreign, 2, NOBODY)
    with running(repair(store, tmp_path)):
        threading.Event().wait(0.6)
    assert actions(store) == ["pool.create"]
    assert sentinels.unregister("foreign").done, "a name nobody knows was left alone"
    assert set(sentinels.monitored()) == {"cache-0", "cache-1"}


def test_a_sentinel_that_forgot_is_told_again(
    store: SqliteStore, sentinels: SentinelGroup, stack: LocalStack, tmp_path: Path
) -> None:
    first = stack.info["sentinels"][0]
    before = sentinels.views(["cache-0"])[first].shards["cache-0"]
    sentinels.unregister("cache-0", only=[first])
    with running(repair(store, tmp_path)):
        until(lambda: "sentinel.repaired" in actions(store, "cache-0"))
    after = sentinels.views(["cache-0"])[first].shards["cache-0"]
    assert (after.master, after.quorum, after.options) == (
        before.master,
        before.quorum,
        before.options,
    )
    event = store.events(limit=1)[0]
    assert first in event.detail
    assert before.master in event.detail


def test_of_a_paused_pool_only_what_is_half_done_is_undone(
    store: SqliteStore, sentinels: SentinelGroup, stack: LocalStack, tmp_path: Path
) -> None:
    before = store.document("cache")
    assert before is not None
    after = paused(before, PoolPause("token:ops", "2026-01-02T03:04:05.678Z"))
    stored = store.put_document(after, before.version, NewEvent("pool.paused"))
    assert stored is not None
    first = stack.info["sentinels"][0]
    sentinels.unregister("cache-0", only=[first])
    intend(store, stack, DEAD_OWNER)
    with running(repair(store, tmp_path)):
        until(lambda: not store.intents())
        threading.Event().wait(0.6)
        assert first not in seen_by(sentinels, "cache-0")
        assert store.put_document(resumed(stored), stored.version, NewEvent("on")) is not None
        until(lambda: first in seen_by(sentinels, "cache-0"))
    assert "half" not in sentinels.monitored()


def test_a_sentinel_restarted_with_an_empty_config(
    store: SqliteStore, sentinels: SentinelGroup, stack: LocalStack, tmp_path: Path
) -> None:
    first = stack.process(stack.info["sentinels"][1])
    sentinels.unregister("cache-0", only=[str(first.address)])
    sentinels.unregister("cache-1", only=[str(first.address)])
    first.restart()
    assert str(first.address) not in seen_by(sentinels, "cache-0")
    with running(repair(store, tmp_path)):
        until(lambda: len(seen_by(sentinels, "cache-0")) == 3)
        until(lambda: len(seen_by(sentinels, "cache-1")) == 3)
    for shard in ("cache-0", "cache-1"):
        assert set(seen_by(sentinels, shard).values()) == {stack.master_of(shard)}


def test_all_forgot_and_the_last_known_master_is_a_replica_now(
    store: SqliteStore, sentinels: SentinelGroup, stack: LocalStack, tmp_path: Path
) -> None:
    info = stack.info["shards"][0]
    master = stack.master_of("cache-0")
    (replica,) = {info["master"], *info["replicas"]} - {master}
    sentinels.unregister("cache-0")
    store.remember_master("cache", "cache-0", replica)
    with running(repair(store, tmp_path)):
        until(lambda: len(seen_by(sentinels, "cache-0")) == 3)
    assert set(seen_by(sentinels, "cache-0").values()) == {master}
    store.remember_master("cache", "cache-0", master)


def test_all_forgot_every_shard_of_a_pool_with_a_quorum_of_its_own(
    store: SqliteStore, sentinels: SentinelGroup, tmp_path: Path
) -> None:
    names = ("cache-0", "cache-1")
    views = sentinels.views(names)
    before = {name: next(iter(views.values())).shards[name] for name in names}
    document = store.document("cache")
    assert document is not None
    with_quorum = document.replace(extra={**document.extra, "quorum": 3})
    masters = {name: shard.master for name, shard in before.items()}
    assert store.put_document(with_quorum, 1, NewEvent("changed"), masters=masters) is not None
    for name in names:
        sentinels.unregister(name)
    with running(repair(store, tmp_path)):
        until(lambda: all(len(seen_by(sentinels, name)) == 3 for name in names))
    found = {view.shards[name].quorum for view in sentinels.views(names).values() for name in names}
    for name, shard in before.items():  # the other tests rely on the options of the stack
        sentinels.register(name, shard.master, shard.quorum, NOBODY, shard.options)
    assert found == {3}


def test_no_sentinel_is_pointed_at_a_dead_instance(
    store: SqliteStore, sentinels: SentinelGroup, stack: LocalStack, tmp_path: Path
) -> None:
    master = stack.master_of("cache-1")
    sentinels.unregister("cache-1")
    store.remember_master("cache", "cache-1", "127.0.0.1:1")
    with running(repair(store, tmp_path)):
        threading.Event().wait(0.6)
        assert seen_by(sentinels, "cache-1") == {}
        store.remember_master("cache", "cache-1", master)
        until(lambda: len(seen_by(sentinels, "cache-1")) == 3)


def test_a_sentinel_astray_is_brought_back(
    store: SqliteStore, sentinels: SentinelGroup, stack: LocalStack, tmp_path: Path
) -> None:
    master = stack.master_of("cache-0")
    astray = stack.info["sentinels"][2]
    sentinels.unregister("cache-0", only=[astray])
    elsewhere = str(stack.start_redis().address)
    assert sentinels.register("cache-0", elsewhere, 2, NOBODY, only=[astray]).failed == {}
    with running(repair(store, tmp_path)):
        until(lambda: set(seen_by(sentinels, "cache-0").values()) == {master})
    assert len(seen_by(sentinels, "cache-0")) == 3


def test_one_shard_in_trouble_does_not_keep_another_from_repair(
    store: SqliteStore, sentinels: SentinelGroup, stack: LocalStack, tmp_path: Path
) -> None:
    first = stack.info["sentinels"][0]
    sentinels.unregister("cache-0")
    store.remember_master("cache", "cache-0", "127.0.0.1:1")
    sentinels.unregister("cache-1", only=[first])
    with running(repair(store, tmp_path)):
        until(lambda: len(seen_by(sentinels, "cache-1")) == 3)
        store.remember_master("cache", "cache-0", stack.info["shards"][0]["master"])
        until(lambda: len(seen_by(sentinels, "cache-0")) == 3)


def test_the_intent_of_a_dead_process_is_undone(
    store: SqliteStore, sentinels: SentinelGroup, stack: LocalStack, tmp_path: Path
) -> None:
    intend(store, stack, DEAD_OWNER)
    with running(repair(store, tmp_path)):
        until(lambda: not store.intents())
    assert "half" not in sentinels.monitored()
    assert actions(store, "half") == ["shard.undone"]


def test_the_intent_of_a_live_process_is_left_to_it(
    store: SqliteStore, sentinels: SentinelGroup, stack: LocalStack, tmp_path: Path
) -> None:
    intend(store, stack, process_identity())
    with running(repair(store, tmp_path)):
        threading.Event().wait(0.6)
        assert len(seen_by(sentinels, "half")) == 3
        store.claim_intent(store.intents()[0].id)
        until(lambda: not store.intents())
    assert seen_by(sentinels, "half") == {}


def test_undoing_does_not_touch_a_foreign_shard_of_that_name(
    store: SqliteStore, sentinels: SentinelGroup, stack: LocalStack, tmp_path: Path
) -> None:
    foreign = str(stack.start_redis().address)
    sentinels.register("half", foreign, 2, NOBODY)
    addresses = tuple(stack.info["sentinels"])
    intent = NewIntent("cache", "half", "127.0.0.1:1", "add", addresses, DEAD_OWNER)
    assert store.add_intent(intent) is not None
    with running(repair(store, tmp_path)):
        until(lambda: not store.intents())
    assert set(seen_by(sentinels, "half").values()) == {foreign}
    sentinels.unregister("half")


def test_an_intent_waits_for_a_dead_sentinel(
    store: SqliteStore, sentinels: SentinelGroup, stack: LocalStack, tmp_path: Path
) -> None:
    intend(store, stack, DEAD_OWNER)
    dead = stack.process(stack.info["sentinels"][0])
    dead.kill()
    with running(repair(store, tmp_path)):
        until(lambda: seen_by(sentinels, "half") == {})
        assert store.intents()
        dead.restart()
        until(lambda: not store.intents())
    assert seen_by(sentinels, "half") == {}


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_an_intent_is_as_old_as_it_was_seen(
    store: SqliteStore,
    sentinels: SentinelGroup,
    stack: LocalStack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    jump: float,
) -> None:
    """The intent's process lives; only its age tells that it is abandoned."""
    intend(store, stack, process_identity())
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + jump)
    clock = Clock()
    with running(repair(store, tmp_path, clock)):
        clock.look(5)
        clock.now += 29
        clock.look(5)
        assert "half" in sentinels.monitored()
        clock.now += 2
        until(lambda: "half" not in sentinels.monitored())
