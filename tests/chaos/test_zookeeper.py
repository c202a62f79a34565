"""Stores on an ensemble of three real ZooKeepers, of which some are killed.

Its leader is killed once by default, and CHAOS_KILLS times: the full count is 10.
"""

from __future__ import annotations

import os
import signal
import threading
import uuid
from functools import partial
from pathlib import Path

import pytest

from metaserver.process.config import ZookeeperOptions
from metaserver.store import StorageError
from metaserver.store.zookeeper import ZookeeperStore
from tests.support.metaserver_process import Metaserver, Reply
from tests.support.paused_leader import what_it_writes_late_is_refused
from tests.support.store_records import create, event
from tests.support.waiting import AT_MOST, until
from tests.support.zookeeper import Ensemble

KILLS = int(os.environ.get("CHAOS_KILLS", "1"))


@pytest.fixture
def options(ensemble: Ensemble) -> ZookeeperOptions:
    return ZookeeperOptions(ensemble.hosts, f"/{uuid.uuid4().hex}", session_timeout=4.0)


def written(store: ZookeeperStore, action: str) -> bool:
    """Try to write; a store without a quorum refuses."""
    try:
        store.record_event(event(action))
    except StorageError as error:
        assert "ZooKeeper" in str(error)
        return False
    return True


def await_writes(acknowledged: list[list[int]]) -> None:
    """Wait until each writer has some more writes acknowledged."""
    counts = [len(mine) for mine in acknowledged]
    until(lambda: all(len(m) > n + 3 for m, n in zip(acknowledged, counts, strict=True)))


def test_one_two_and_none_of_three_killed(ensemble: Ensemble, options: ZookeeperOptions) -> None:
    store, other = ZookeeperStore(options), ZookeeperStore(options)
    try:
        created = create(store)
        ensemble.servers[0].kill()
        for each in (store, other):
            until(partial(written, each, "with two of three"))
        ensemble.servers[1].kill()
        until(lambda: not written(store, "with one"))
        for each in (store, other):
            assert each.document("cache") == created
            assert each.versions() == {"cache": 1}
        ensemble.start()
        for each in (store, other):
            until(partial(written, each, "with all again"))
        put = store.put_document(created.replace(settings={"poll_interval": 2}), 1, event("put"))
        assert put is not None
        until(lambda: other.document("cache") == put)
        until(lambda: store.events(limit=1000) == other.events(limit=1000))
    finally:
        store.close()
        other.close()


def test_writers_while_the_leader_is_killed(ensemble: Ensemble, options: ZookeeperOptions) -> None:
    """Each acknowledged write happened once, on the version that its writer had read."""
    stores = [ZookeeperStore(options) for _ in range(4)]
    create(stores[0])
    acknowledged: list[list[int]] = [[] for _ in stores]
    stop = threading.Event()

    def write(store: ZookeeperStore, mine: list[int], name: str) -> None:
        while not stop.is_set():
            before = store.document("cache")
            if before is None:
                continue
            after = before.replace(extra={"writer": name})
            try:
                put = store.put_document(after, before.version, event(name))
            except StorageError:
                continue
            if put is not None:
                mine.append(put.version)

    threads = [
        threading.Thread(target=write, args=(store, mine, f"writer-{number}"))
        for number, (store, mine) in enumerate(zip(stores, acknowledged, strict=True))
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in range(KILLS):
            await_writes(acknowledged)
            ensemble.leader.kill()
            await_writes(acknowledged)
            ensemble.start()
    finally:
        stop.set()
        for thread in threads:
            thread.join(AT_MOST)
    versions = sorted(version for mine in acknowledged for version in mine)
    assert len(versions) == len(set(versions)), "two writes got one version"
    for mine in acknowledged:
        assert mine == sorted(mine)
    fresh = ZookeeperStore(options)
    logged = fresh.events(limit=100_000)
    ids = [each.id for each in logged]
    assert ids == sorted(set(ids), reverse=True)
    by_writer = {f"writer-{n}": len(mine) for n, mine in enumerate(acknowledged)}
    for name, count in by_writer.items():
        done = sum(each.action == name for each in logged)
        assert count <= done, "an acknowledged write is lost"
    document = fresh.document("cache")
    assert document is not None
    assert document.version == 1 + sum(each.action.startswith("writer") for each in logged)
    for store in (*stores, fresh):
        store.close()


def test_a_change_without_an_answer_is_made_once(ensemble: Ensemble, tmp_path: Path) -> None:
    """Sent again with its key, it is told as made, and is made once."""
    where = (ensemble.hosts, f"/{uuid.uuid4().hex}")
    store = ZookeeperStore(ZookeeperOptions(*where))
    create(store)
    path, body, key = "/v1/pools/cache/settings", {"settings": {"poll_interval": 2.0}}, "one-key"

    def send() -> Reply:
        return api("PATCH", path, body, headers={"Idempotency-Key": key})

    with Metaserver(tmp_path, store=("--zookeeper", "".join(where))) as api:
        for server in ensemble.servers:
            server.kill(signal.SIGSTOP)
        try:
            refused = send()
        finally:
            for server in ensemble.servers:
                server.kill(signal.SIGCONT)
        # Unsure, unless another change of the process already waited for its answer.
        assert refused.problem in ("storage-unsure", "storage-failed")
        until(lambda: send().status == 200)
        assert send().headers["idempotency-replayed"] == "true"
        assert api("GET", "/v1/pools/cache").json["version"] == 2
    store.close()


def test_what_a_paused_leader_writes_late_is_refused(ensemble: Ensemble) -> None:
    what_it_writes_late_is_refused("zookeeper", ensemble.hosts, f"/{uuid.uuid4().hex}")
