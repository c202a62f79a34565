"""The table of clients: leases, and who has acknowledged what."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from metaserver.clients import Clients
from metaserver.leader import process_identity, process_is_alive
from metaserver.store import Store
from metaserver.store.sqlite import SqliteStore

DEAD = f"{os.getpid()}:1"  # this pid, but started at another time


class Clock:
    """A monotonic clock that the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = SqliteStore(tmp_path / "meta.db")
    yield store
    store.close()


@pytest.fixture
def clients(store: Store, clock: Clock) -> Clients:
    return Clients(store, 30.0, clock=clock)


def watch(clients: Clients, client: str, version: int, pool: str = "cache") -> None:
    clients.seen(pool, client, version, "10.0.0.7", {"errors": 0})
    clients.released(pool, client)


def test_a_client_counts_until_its_lease_runs_out(clients: Clients, clock: Clock) -> None:
    watch(clients, "app-1", 3)
    (live,) = clients.live("cache")
    assert (live.client, live.version, live.address) == ("app-1", 3, "10.0.0.7")
    assert live.to_dict()["stats"] == {"errors": 0}
    clock.now += 30
    assert clients.count("cache") == 1
    clock.now += 0.1
    assert clients.count("cache") == 0
    assert clients.count("other") == 0


def test_a_held_watch_keeps_the_client_live(clients: Clients, clock: Clock) -> None:
    clients.seen("cache", "app-1", 3, "10.0.0.7")
    clock.now += 59
    assert clients.count("cache") == 1
    clients.released("cache", "app-1")
    clock.now += 29
    assert clients.count("cache") == 1


def test_all_acknowledged(clients: Clients, clock: Clock) -> None:
    assert clients.all_acknowledged("cache", 4)
    watch(clients, "app-1", 3)
    watch(clients, "app-2", 4)
    assert not clients.all_acknowledged("cache", 4)
    assert clients.all_acknowledged("cache", 3)
    watch(clients, "app-1", 5)
    assert clients.all_acknowledged("cache", 4)
    watch(clients, "app-3", 1)
    clock.now += 31
    assert clients.all_acknowledged("cache", 4)


def test_clients_of_another_process_count(store: Store, clients: Clients) -> None:
    store.publish_acks(f"{os.getppid()}:{process_identity_of(os.getppid())}", {"cache": 3})
    assert not clients.all_acknowledged("cache", 4)
    assert clients.all_acknowledged("cache", 3)
    assert clients.all_acknowledged("other", 4)


def test_clients_of_a_dead_process_count_for_one_lease(
    store: Store, clients: Clients, clock: Clock
) -> None:
    assert not process_is_alive(DEAD)
    store.publish_acks(DEAD, {"cache": 3})
    assert not clients.all_acknowledged("cache", 4)
    clients.forget_dead()
    clock.now += 29
    assert not clients.all_acknowledged("cache", 4)
    clock.now += 1
    assert clients.all_acknowledged("cache", 4)
    clients.forget_dead()
    assert store.acks() == {}


def test_only_news_is_published(store: Store, clients: Clients) -> None:
    clients.publish()
    watch(clients, "app-1", 3)
    watch(clients, "app-2", 4)
    clients.publish()
    assert store.acks() == {process_identity(): {"cache": 3}}
    marker = store.change_marker()
    watch(clients, "app-2", 5)
    clients.publish()
    assert store.change_marker() == marker


def process_identity_of(pid: int) -> str:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[19]
