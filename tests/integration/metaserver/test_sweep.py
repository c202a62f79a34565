"""Sweeps on real instances: removed keys, kept keys, and failures."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cachemesh.core.placement import Placement, Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.local import LocalStack
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.pool_pause import PoolPause, paused, resumed
from metaserver.domain.pool_state import NewSweep, Sweep
from metaserver.loops.repair import Repair
from metaserver.loops.sweep import Sweeper
from metaserver.process.config import RedisAuth
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.client_list import LISTED
from metaserver.redis_io.term_fence import TermFence
from metaserver.store import LostLeadError
from metaserver.store.sqlite import SqliteStore
from tests.support import metaserver_loops
from tests.support.metaserver_loops import NETWORKS, Clock, actions, running
from tests.support.plain_redis import connect
from tests.support.waiting import until

KEYS = [f"key:{number}" for number in range(6000)]


class Acknowledged:
    """Acknowledgements that the test sets."""

    def __init__(self, version: int) -> None:
        self.version = version

    def all_acknowledged(self, pool: str, version: int) -> bool:
        return version <= self.version


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(
        shards=2, sentinels=3, spares=0, metaservers=0, dashboard=False, down_after_ms=500
    ) as stack:
        yield stack


@pytest.fixture
def store(stack: LocalStack, tmp_path: Path) -> Iterator[SqliteStore]:
    for shard in metaserver_loops.masters(stack):
        with connect(stack.master_of(shard)) as client:
            client.flushall()
            client.mset(dict.fromkeys(KEYS, "value"))
    with metaserver_loops.store_with_pool(tmp_path, stack) as store:
        yield store


def sweeper(
    store: SqliteStore,
    directory: Path,
    acknowledged: int = 1_000,
    *,
    grace: float = 60.0,
    give_up: float = 30.0,
    abandon: float = 3600.0,
    clock: Callable[[], float] = time.monotonic,
) -> Sweeper:
    return Sweeper(
        store,
        metaserver_loops.config(directory),
        Acknowledged(acknowledged),
        networks=NETWORKS,
        grace=grace,
        give_up=give_up,
        retry_slowly=0.5,
        abandon=abandon,
        clock=clock,
    )


def change(
    store: SqliteStore, stack: LocalStack, shards: Sequence[Shard], swept: str, drained: bool
) -> Placement:
    """Give the pool these shards, with a sweep of one of them."""
    before = store.document("cache")
    assert before is not None
    after = before.replace(placement=before.placement.with_shards(shards))
    sweep = NewSweep(swept, stack.master_of(swept), drained)
    stored = store.put_document(after, before.version, NewEvent("changed"), sweeps=[sweep])
    assert stored is not None
    return stored.placement


def shrink(store: SqliteStore, stack: LocalStack) -> Placement:
    return change(store, stack, [Shard("cache-0", 1), Shard("cache-1", 3)], "cache-0", False)


def members_of(stack: LocalStack, name: str) -> list[str]:
    (shard,) = (each for each in stack.info["shards"] if each["name"] == name)
    return [shard["master"], *shard["replicas"]]


def keys_at(address: str) -> set[str]:
    with connect(address) as client:
        return {key.decode() for key in client.scan_iter(count=1000)}


def only_sweep(store: SqliteStore) -> Sweep:
    (sweep,) = store.sweeps()
    return sweep


def test_keys_too_long_for_one_reply(stack: LocalStack, store: SqliteStore, tmp_path: Path) -> None:
    """1000 such keys have 10 MB, so SCAN is asked for fewer."""
    long = [f"{number}:{'x' * 10_000}" for number in range(1000)]
    with connect(stack.master_of("cache-0")) as client:
        client.flushall()
        client.mset(dict.fromkeys(long, "value"))
    placement = shrink(store, stack)
    with running(sweeper(store, tmp_path)):
        until(lambda: not store.sweeps())
    owned = {key for key in long if placement.owner(key.encode()) == "cache-0"}
    assert keys_at(stack.master_of("cache-0")) == owned


def test_only_what_another_shard_owns_is_removed(
    stack: LocalStack, store: SqliteStore, tmp_path: Path
) -> None:
    placement = shrink(store, stack)
    with connect(stack.master_of("cache-0")) as client:
        client.execute_command("SELECT", 2)
        client.mset(dict.fromkeys(KEYS[:100], "in another database"))
    with running(sweeper(store, tmp_path)):
        until(lambda: not store.sweeps())
    owned = {key for key in KEYS if placement.shard_for(key) == "cache-0"}
    assert keys_at(stack.master_of("cache-0")) == owned
    assert keys_at(stack.master_of("cache-1")) == set(KEYS), "nobody asked for this sweep"
    assert actions(store) == ["pool.create", "changed", "sweep.done"]
    event = store.events(limit=1)[0]
    gone = len(KEYS) - len(owned) + sum(placement.shard_for(k) != "cache-0" for k in KEYS[:100])
    assert f"{gone:,} keys" in event.detail
    with connect(stack.master_of("cache-0")) as client:
        assert client.get("none") is None  # still in service


def test_it_waits_for_the_clients_but_not_for_ever(
    stack: LocalStack, store: SqliteStore, tmp_path: Path
) -> None:
    shrink(store, stack)
    with running(sweeper(store, tmp_path, acknowledged=1)):
        threading.Event().wait(0.5)
        assert (only_sweep(store).state, only_sweep(store).removed) == ("waiting", 0)
        assert keys_at(stack.master_of("cache-0")) == set(KEYS)
    with running(sweeper(store, tmp_path, acknowledged=1, grace=0.0)):
        until(lambda: not store.sweeps())


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_setting_the_time_of_day_neither_skips_nor_stretches_the_grace(
    stack: LocalStack,
    store: SqliteStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    jump: float,
) -> None:
    shrink(store, stack)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + jump)
    clock = Clock()
    with running(sweeper(store, tmp_path, acknowledged=1, clock=clock)):
        waits_a_minute(clock, store)


def waits_a_minute(clock: Clock, store: SqliteStore) -> None:
    """The sweep begins after its grace, and no sooner."""
    clock.look()
    clock.now += 59
    clock.look()
    assert only_sweep(store).state == "waiting"
    clock.now += 2
    until(lambda: not store.sweeps())


def test_the_grace_begins_anew_with_another_process(
    stack: LocalStack, store: SqliteStore, tmp_path: Path
) -> None:
    shrink(store, stack)
    clock = Clock()
    with running(sweeper(store, tmp_path, acknowledged=1, clock=clock)):
        clock.look()
        clock.now += 59
        clock.look()
    with running(sweeper(store, tmp_path, acknowledged=1, clock=clock)):
        waits_a_minute(clock, store)


def test_a_sweep_survives_its_process(
    stack: LocalStack, store: SqliteStore, tmp_path: Path
) -> None:
    placement = shrink(store, stack)
    store.update_sweep(only_sweep(store).id, state="running", removed=17, detail="cut off")
    with running(sweeper(store, tmp_path)):
        until(lambda: not store.sweeps())
    foreign = sum(placement.shard_for(key) != "cache-0" for key in KEYS)
    assert f"{foreign + 17:,} keys" in store.events(limit=1)[0].detail


def test_a_failover_meanwhile_is_followed(
    stack: LocalStack, store: SqliteStore, tmp_path: Path
) -> None:
    old = stack.master_of("cache-0")
    placement = shrink(store, stack)
    stack.process(old).kill()
    with running(sweeper(store, tmp_path)):
        until(lambda: not store.sweeps())
    new = stack.master_of("cache-0")
    assert new != old
    assert all(placement.shard_for(key) == "cache-0" for key in keys_at(new))
    stack.process(old).restart()
    until(lambda: keys_at(old) == keys_at(new))


def test_a_sweep_replaced_or_deleted_is_called_off(
    stack: LocalStack, store: SqliteStore, tmp_path: Path
) -> None:
    shrink(store, stack)
    with running(sweeper(store, tmp_path, acknowledged=1)):
        threading.Event().wait(0.3)
        assert store.delete_document("cache", 2, NewEvent("pool.delete")) is not None
        assert store.sweeps() == ()
    assert keys_at(stack.master_of("cache-0")) == set(KEYS)
    assert "sweep.done" not in actions(store)


def test_a_pool_that_is_paused_keeps_its_keys_until_it_is_resumed(
    stack: LocalStack, store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is paused when the sweep has just begun."""
    placement = shrink(store, stack)
    update = store.update_sweep

    def store_next(document: PoolDocument) -> None:
        assert store.put_document(document, document.version, NewEvent("changed")) is not None

    def update_and_pause(sweep_id: int, **told: Any) -> bool:
        document = store.document("cache")
        assert document is not None
        if told.get("state") == "running" and "pause" not in document.extra:
            store_next(paused(document, PoolPause("token:ops", "2026-01-02T03:04:05.678Z")))
        return update(sweep_id, **told)

    monkeypatch.setattr(store, "update_sweep", update_and_pause)
    clock = Clock()
    with running(sweeper(store, tmp_path, clock=clock)):
        until(lambda: only_sweep(store).state == "running")
        clock.look()
        assert keys_at(stack.master_of("cache-0")) == set(KEYS)
        monkeypatch.undo()
        document = store.document("cache")
        assert document is not None
        store_next(resumed(document))
        until(lambda: not store.sweeps())
    assert all(placement.shard_for(key) == "cache-0" for key in keys_at(stack.master_of("cache-0")))


def spare_pool(store: SqliteStore, stack: LocalStack, name: str) -> str:
    """Create a second pool of two shards; return the master of the one that is to leave."""
    gone = str(stack.start_redis().address)
    with metaserver_loops.sentinels(stack) as sentinels:
        assert sentinels.register(name, gone, 2, RedisAuth()).failed == {}
    document = PoolDocument(
        pool="other",
        version=1,
        placement=SlotsPlacement.even([Shard("cache-1")]),
        sentinels=tuple(stack.info["sentinels"]),
    )
    assert store.create_document(document, NewEvent("pool.create")) is not None
    sweep = NewSweep(name, gone, drained=True)
    assert store.put_document(document, 1, NewEvent("changed"), sweeps=[sweep]) is not None
    with connect(gone) as client:
        client.mset(dict.fromkeys(KEYS, "value"))
    return gone


def test_a_drained_shard_is_emptied_and_forgotten(
    stack: LocalStack, store: SqliteStore, tmp_path: Path
) -> None:
    gone = spare_pool(store, stack, "leaver")
    with running(sweeper(store, tmp_path)):
        until(lambda: not store.sweeps() and not store.intents())
    assert keys_at(gone) == set()
    assert actions(store, "leaver") == ["sweep.done"]
    with metaserver_loops.sentinels(stack) as sentinels:
        assert set(sentinels.monitored()) == {"cache-0", "cache-1"}


def test_a_drained_shard_stays_monitored_where_its_pool_is_paused_at_its_last_key(
    stack: LocalStack, store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = spare_pool(store, stack, "leaver")
    update = store.update_sweep

    def store_next(change: Callable[[PoolDocument], PoolDocument]) -> None:
        document = store.document("other")
        assert document is not None
        after = change(document)
        assert store.put_document(after, document.version, NewEvent("changed")) is not None

    def update_and_pause(sweep_id: int, **told: Any) -> bool:
        if told.get("removed") == len(KEYS):
            monkeypatch.undo()
            pause = PoolPause("token:ops", "2026-01-02T03:04:05.678Z")
            store_next(lambda document: paused(document, pause))
        return update(sweep_id, **told)

    monkeypatch.setattr(store, "update_sweep", update_and_pause)
    clock = Clock()
    with running(sweeper(store, tmp_path, clock=clock)):
        until(lambda: keys_at(gone) == set() and only_sweep(store).removed == len(KEYS))
        clock.look()
        assert actions(store, "leaver") == []
        with metaserver_loops.sentinels(stack) as sentinels:
            assert "leaver" in sentinels.monitored()
        store_next(resumed)
        until(lambda: not store.sweeps() and not store.intents())
    assert actions(store, "leaver") == ["sweep.done"]


def test_a_drained_shard_that_stays_away_is_failed_and_tried_again(
    stack: LocalStack, store: SqliteStore, tmp_path: Path
) -> None:
    gone = spare_pool(store, stack, "lost")
    stack.process(gone).kill()
    with running(sweeper(store, tmp_path, give_up=0.5)):
        until(lambda: only_sweep(store).state == "failed")
        until(lambda: "sweep.failed" in actions(store, "lost"))
        detail = only_sweep(store).detail
        assert gone in detail
        assert "may remain" in detail
        assert "Sentinels still monitor it" in detail
        stack.process(gone).restart()
        until(lambda: not store.sweeps() and not store.intents())
    assert actions(store, "lost") == ["sweep.failed", "sweep.done"]


def test_a_drained_shard_that_never_returns_is_given_up(
    stack: LocalStack, store: SqliteStore, tmp_path: Path
) -> None:
    gone = spare_pool(store, stack, "lost")
    stack.process(gone).kill()
    with running(sweeper(store, tmp_path, give_up=0.5, abandon=1.0)):
        until(lambda: not store.sweeps() and not store.intents())
    assert actions(store, "lost")[-1] == "sweep.given-up"
    assert "empty it before it is used again" in store.events("other", limit=1)[0].detail
    with metaserver_loops.sentinels(stack) as sentinels:
        assert set(sentinels.monitored()) == {"cache-0", "cache-1"}


def test_a_shard_in_the_pool_is_never_given_up(
    stack: LocalStack, store: SqliteStore, tmp_path: Path
) -> None:
    """Keys that the shard does not own would be served once it gets the slots back."""
    change(store, stack, [Shard("cache-0", 1), Shard("cache-1", 3)], "cache-0", False)
    members = [stack.process(at) for at in members_of(stack, "cache-0")]
    for member in members:
        member.pause()
    with running(sweeper(store, tmp_path, give_up=0.2, abandon=0.2)):
        try:
            until(lambda: "sweep.failed" in actions(store, "cache-0"))
        finally:
            for member in members:
                member.resume()
        until(lambda: not store.sweeps())
    assert actions(store, "cache-0") == ["sweep.failed", "sweep.done"]


def test_a_sentinel_that_was_away_is_told_to_forget_when_it_returns(
    stack: LocalStack, store: SqliteStore, tmp_path: Path
) -> None:
    spare_pool(store, stack, "leaver")
    away = stack.process(stack.info["sentinels"][0])
    away.kill()
    with running(sweeper(store, tmp_path)):
        until(lambda: not store.sweeps())
    (intent,) = store.intents()
    assert (intent.shard, intent.action) == ("leaver", "delete")
    away.restart()
    with metaserver_loops.sentinels(stack) as sentinels:
        assert "leaver" in sentinels.monitored()
        with running(Repair(store, metaserver_loops.config(tmp_path), networks=NETWORKS)):
            until(lambda: not store.intents())
        assert "leaver" not in sentinels.monitored()


def test_what_an_earlier_term_sends_late_does_not_arrive(
    stack: LocalStack, store: SqliteStore
) -> None:
    """A process that was paused goes on when another one sweeps, and does so as the leader."""
    over = False

    def lasts() -> None:
        if over:
            raise LostLeadError("another process leads")

    at = stack.master_of("cache-0")
    paused = BoundedConnection(at, NETWORKS, RedisAuth(), 5.0, opened=TermFence(7, lasts).enter)
    current = BoundedConnection(at, NETWORKS, RedisAuth(), 5.0, opened=TermFence(8, lasts).enter)
    looking = BoundedConnection(at, NETWORKS, RedisAuth(), 5.0, LISTED)
    with connect(at) as app:
        app.client_setname("cachemesh-term:none")
        mine = app.client_id()
        paused.call("PING")
        current.call("PING")
        assert TermFence(8, lasts).shut_out(looking) == 1
        assert paused.call("UNLINK", KEYS[0]) == 1, "its term lasts: it opens another connection"
        over = True
        assert TermFence(9, lasts).shut_out(looking) == 2
        for connection in (paused, current):
            with pytest.raises(LostLeadError):
                connection.call("UNLINK", KEYS[1])
        assert app.exists(KEYS[1])
        assert app.client_id() == mine, "no other connection is touched"
    for connection in (paused, current, looking):
        connection.close()
