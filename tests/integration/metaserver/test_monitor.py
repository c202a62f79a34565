"""The monitor, with real instances and Sentinels."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cachemesh.core.errors import PoolNotFoundError
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.local import LocalStack
from metaserver.domain.audit_log import NewEvent
from metaserver.loops.monitor import Monitor
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.store.sqlite import SqliteStore
from tests.support import metaserver_loops
from tests.support.metaserver_loops import NETWORKS, actions, running
from tests.support.plain_redis import connect
from tests.support.rogue_server import Server
from tests.support.waiting import AT_MOST, in_time, until


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, metaservers=0, dashboard=False, down_after_ms=500) as stack:
        yield stack


@pytest.fixture
def store(stack: LocalStack, tmp_path: Path) -> Iterator[SqliteStore]:
    with metaserver_loops.store_with_pool(tmp_path, stack) as store:
        yield store


def monitor(store: SqliteStore, directory: Path, networks: AllowedNetworks = NETWORKS) -> Monitor:
    return Monitor(
        store,
        metaserver_loops.config(directory),
        networks=networks,
        count_clients=lambda pool: 7,
    )


def shard(status: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(s for s in status["shards"] if s["name"] == name)
    return found


def test_a_healthy_pool(stack: LocalStack, store: SqliteStore, tmp_path: Path) -> None:
    status = monitor(store, tmp_path).status("cache")
    assert (status["health"], status["clients"], status["version"]) == ("ok", 7, 1)
    assert [sentinel["up"] for sentinel in status["sentinels"]] == [True] * 3
    for info in stack.info["shards"]:
        seen = shard(status, info["name"])
        assert (seen["state"], seen["reason"], seen["slots"]) == ("up", None, 8192)
        assert (seen["master"]["address"], seen["master"]["role"]) == (info["master"], "master")
        assert [replica["address"] for replica in seen["replicas"]] == info["replicas"]
        (replica,) = seen["replicas"]
        assert (replica["up"], replica["role"], replica["link"]) == (True, "replica", "up")
        assert replica["lag_bytes"] < 1000
        assert replica["lag_seconds"] in (0, 1, 2)
        assert seen["sentinel"]["detail"] == "3 of 3 Sentinels, quorum 2"


def test_the_end_of_a_process_waits_for_what_is_observed_and_no_failure_is_logged_after_it(
    store: SqliteStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watching = monitor(store, tmp_path)
    with pytest.raises(PoolNotFoundError):
        watching._begin("nobody").result()
    until(lambda: "There is no pool" in caplog.text)
    under_way = watching._begin("cache")
    watching.stop(AT_MOST)
    assert under_way.done()
    caplog.clear()
    with pytest.raises(PoolNotFoundError):
        watching._begin("nobody").result()
    watching._workers.shutdown()
    assert not caplog.records


def test_rates_come_from_two_observations(
    stack: LocalStack, store: SqliteStore, tmp_path: Path
) -> None:
    subject = monitor(store, tmp_path)
    assert shard(subject.status("cache"), "cache-0")["master"]["hit_ratio"] is None
    with running(subject), connect(stack.master_of("cache-0")) as client:
        subject.status("cache")
        client.set("k", 1)

        def read() -> dict[str, Any]:
            for key in ("k", "k", "k", "none"):
                client.get(key)
            return shard(subject.status("cache"), "cache-0")

        until(lambda: 0.5 < (read()["master"]["hit_ratio"] or 0.0) < 0.9)  # 0.75 of whole turns
        assert until(lambda: read()["master"]["ops_per_second"]) > 0
        until(lambda: shard(subject.status("cache"), "cache-0")["master"]["keys"] == 1)
        client.flushall()


def test_unknown_and_deleted_pools(store: SqliteStore, tmp_path: Path) -> None:
    subject = monitor(store, tmp_path)
    with pytest.raises(PoolNotFoundError, match="nope"):
        subject.status("nope")
    with running(subject):
        subject.status("cache")
        assert store.delete_document("cache", 1, NewEvent("pool.delete")) is not None
        with pytest.raises(PoolNotFoundError):
            subject.status("cache")


def test_a_change_is_in_the_status_at_once(store: SqliteStore, tmp_path: Path) -> None:
    subject = monitor(store, tmp_path)
    with running(subject):
        document = store.document("cache")
        assert document is not None
        subject.status("cache")
        heavier = document.placement.with_shards([Shard("cache-0", 3), Shard("cache-1", 1)])
        changed = document.replace(placement=heavier)
        assert store.put_document(changed, 1, NewEvent("shard.set-weight")) is not None
        status = subject.status("cache")
        assert (status["version"], shard(status, "cache-0")["slots"]) == (2, 12288)


def test_a_hanging_master_holds_no_request_up(
    stack: LocalStack, store: SqliteStore, tmp_path: Path
) -> None:
    subject = monitor(store, tmp_path)
    replica = stack.info["shards"][1]["replicas"][0]
    with running(subject):
        subject.status("cache")
        stack.process(replica).pause()
        try:
            until(lambda: shard(subject.status("cache"), "cache-1")["state"] == "degraded")
            began = time.monotonic()
            for _ in range(10):
                seen = shard(subject.status("cache"), "cache-1")
            in_time(time.monotonic() - began, 0.1)  # not the instance_timeout of 1 s, ten times
            assert replica in seen["reason"]
            assert shard(subject.status("cache"), "cache-0")["state"] == "up"
        finally:
            stack.process(replica).resume()
        until(lambda: subject.status("cache")["health"] == "ok")
    assert actions(store, "cache-1") == [], "a degraded shard is not down"


def test_a_replica_dies_and_is_back_in_the_log(
    stack: LocalStack, store: SqliteStore, tmp_path: Path
) -> None:
    (replica,) = (each["address"] for each in replicas_of("cache-1", store, tmp_path))
    dead = stack.info["sentinels"][2]
    with running(monitor(store, tmp_path)):
        until(lambda: store.reported_state("cache"))
        stack.process(replica).kill()
        stack.process(dead).kill()
        until(lambda: actions(store, replica) == ["replica.down"])
        until(lambda: actions(store, dead) == ["sentinel.down"])
    with running(monitor(store, tmp_path)):
        stack.process(replica).restart()
        stack.process(dead).restart()
        until(lambda: actions(store, replica) == ["replica.down", "replica.up"])
        until(lambda: actions(store, dead) == ["sentinel.down", "sentinel.up"])
    (down,) = (event for event in store.events() if event.action == "replica.down")
    assert (down.pool, down.after) == ("cache", {"shard": "cache-1", "replicas": 1})


def test_a_pool_made_again_is_another_pool_in_the_log(
    stack: LocalStack, store: SqliteStore, tmp_path: Path
) -> None:
    """A pool that is deleted and created again between two observations counts as new."""
    (replica,) = (each["address"] for each in replicas_of("cache-1", store, tmp_path))
    with running(monitor(store, tmp_path)):
        until(lambda: store.reported_state("cache"))
        stack.process(replica).kill()
        try:
            until(lambda: actions(store, replica) == ["replica.down"])
            assert store.delete_document("cache", 1, NewEvent("pool.delete")) is not None
            metaserver_loops.create_pool(store, stack)
            until(lambda: actions(store, replica) == ["replica.down"] * 2)
        finally:
            stack.process(replica).restart()
            until(lambda: actions(store, replica)[-1] == "replica.up")


def test_a_process_that_does_not_lead_answers_with_nothing_old(
    stack: LocalStack, store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance hangs for longer than a call waits for a status that is only a little old."""
    monkeypatch.setattr("metaserver.loops.monitor._OLDEST", 0.0)
    subject = monitor(store, tmp_path)
    assert subject.status("cache")["health"] == "ok"
    replica = stack.process(stack.info["shards"][1]["replicas"][0])
    replica.pause()
    try:
        assert shard(subject.status("cache"), "cache-1")["state"] == "degraded"
    finally:
        replica.resume()
    until(lambda: subject.status("cache")["health"] == "ok")


def replicas_of(name: str, store: SqliteStore, directory: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shard(monitor(store, directory).status("cache"), name)["replicas"]
    return found


def is_younger(subject: Monitor, before: str) -> bool:
    return str(subject.status("cache")["at"]) > before


def test_a_pool_whose_instance_hangs_ages_no_other(store: SqliteStore, tmp_path: Path) -> None:
    config = dataclasses.replace(metaserver_loops.config(tmp_path), instance_timeout=60.0)
    subject = Monitor(
        store,
        config,
        networks=NETWORKS,
        count_clients=lambda pool: 7,
    )
    with Server(lambda _: None) as hanging, running(subject):
        document = store.document("cache")
        assert document is not None
        placement = SlotsPlacement.even([Shard("hanging-0")])
        other = document.replace(pool="hanging", version=1, placement=placement)
        store.create_document(
            other,
            NewEvent("pool.create", pool="hanging"),
            masters={"hanging-0": str(hanging)},
        )
        until(lambda: hanging.connections)
        for _ in range(5):
            before = subject.status("cache")["at"]
            until(partial(is_younger, subject, before), 30)
        hanging.close()


def test_an_instance_outside_the_networks_is_not_contacted(
    store: SqliteStore, tmp_path: Path
) -> None:
    status = monitor(store, tmp_path, AllowedNetworks(["10.0.0.0/8"])).status("cache")
    assert status["health"] == "down"
    assert "allowed networks" in shard(status, "cache-0")["master"]["error"]


def test_a_dead_sentinel_degrades_the_pool(
    stack: LocalStack, store: SqliteStore, tmp_path: Path
) -> None:
    dead = stack.info["sentinels"][2]
    subject = monitor(store, tmp_path)
    with running(subject):
        stack.process(dead).kill()
        try:
            until(lambda: subject.status("cache")["health"] == "degraded")
            status = subject.status("cache")
            assert [s["address"] for s in status["sentinels"] if not s["up"]] == [dead]
            seen = shard(status, "cache-0")
            assert (seen["sentinel"]["seen_by"], seen["sentinel"]["usable"]) == (2, True)
            assert dead in seen["reason"]
        finally:
            stack.process(dead).restart()
        until(lambda: subject.status("cache")["health"] == "ok")


def test_failover_is_seen_and_reported_once(
    stack: LocalStack, store: SqliteStore, tmp_path: Path
) -> None:
    old = stack.master_of("cache-0")
    subject = monitor(store, tmp_path)
    with running(subject):
        subject.status("cache")
        stack.process(old).kill()
        until(lambda: store.last_master("cache", "cache-0") != old)
        until(lambda: "shard.up" in actions(store, "cache-0"))
        seen = shard(subject.status("cache"), "cache-0")
        assert seen["master"]["address"] == store.last_master("cache", "cache-0")
    with running(monitor(store, tmp_path)):
        until(lambda: shard(subject.status("cache"), "cache-0")["state"] == "degraded")
        stack.process(old).restart()
        until(lambda: shard(subject.status("cache"), "cache-0")["state"] == "up")
    log = actions(store, "cache-0")
    assert set(log) == {"failover", "shard.down", "shard.up"}
    assert log[0] == "shard.down"
    assert log.count("shard.down") == log.count("shard.up")
    events = [e for e in reversed(store.events()) if e.action == "failover"]
    # Once the machine is not too busy for its own Sentinels.
    masters = [old, *(e.after["master"] for e in events if e.after)]
    assert [e.before for e in events] == [{"master": master} for master in masters[:-1]]
    assert masters[1] == seen["master"]["address"]
    assert masters[-1] == store.last_master("cache", "cache-0")
    assert all(event.actor == "system" for event in events)


def test_down_is_reported_once_also_by_the_next_leader(
    stack: LocalStack, store: SqliteStore, tmp_path: Path
) -> None:
    info = stack.info["shards"][1]
    members = [stack.process(address) for address in (info["master"], *info["replicas"])]
    subject = monitor(store, tmp_path)
    with running(subject):
        for member in members:
            member.kill()
        until(lambda: actions(store, "cache-1") == ["shard.down"])
        until(lambda: subject.status("cache")["health"] == "down")
    with running(monitor(store, tmp_path)):
        for member in members:
            member.restart()
        until(lambda: "shard.up" in actions(store, "cache-1"))
    assert actions(store, "cache-1") == ["shard.down", "shard.up"]
