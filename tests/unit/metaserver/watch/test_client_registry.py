"""The registry of clients: leases, and acknowledged versions."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaserver.domain.client_reports import LISTED
from metaserver.domain.errors import RequestRefused
from metaserver.process.identity import process_identity, process_is_alive
from metaserver.store import Store
from metaserver.watch.client_registry import ClientRegistry
from metaserver.watch.client_table import LAPSED_SECONDS, shown
from tests.support.clock import Clock

DEAD = f"{process_identity().rpartition(':')[0]}:1"  # this pid, but started at another time


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000.0)


@pytest.fixture
def store(sqlite_store: Store) -> Store:
    return sqlite_store


@pytest.fixture
def clients(store: Store, clock: Clock) -> ClientRegistry:
    return ClientRegistry(store, 30.0, clock=clock)


def watch(clients: ClientRegistry, client: str, version: int, pool: str = "cache") -> None:
    clients.watch_began(pool, client, version, "10.0.0.7", {"errors": 0})
    clients.watch_ended(pool, client)


def test_a_client_counts_until_its_lease_runs_out(clients: ClientRegistry, clock: Clock) -> None:
    watch(clients, "app-1", 3)
    (live,) = clients.live("cache")
    assert (live.client, live.version, live.address) == ("app-1", 3, "10.0.0.7")
    assert shown(live, {})["stats"] == {"errors": 0}
    clock.now += 30
    assert clients.count("cache") == 1
    clock.now += 0.1
    assert clients.count("cache") == 0
    assert clients.count("other") == 0


def test_a_held_watch_keeps_the_client_live(clients: ClientRegistry, clock: Clock) -> None:
    clients.watch_began("cache", "app-1", 3, "10.0.0.7")
    clock.now += 59
    assert clients.count("cache") == 1
    clients.watch_ended("cache", "app-1")
    clock.now += 29
    assert clients.count("cache") == 1


def test_all_acknowledged(clients: ClientRegistry, clock: Clock) -> None:
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


def test_clients_of_another_process_count(store: Store, clients: ClientRegistry) -> None:
    other = ClientRegistry(store, 30.0, owner=process_identity(os.getppid()))
    watch(other, "app-1", 3)
    other.publish()
    assert not clients.all_acknowledged("cache", 4)
    assert clients.all_acknowledged("cache", 3)
    assert clients.all_acknowledged("other", 4)
    assert [(each.client, each.version) for each in clients.laggards("cache", 4)] == [("app-1", 3)]
    watch(clients, "app-1", 4)  # the client has come here
    assert clients.laggards("cache", 4) == []


def test_clients_of_a_dead_process_count_for_one_lease(
    store: Store, clients: ClientRegistry, clock: Clock
) -> None:
    assert not process_is_alive(DEAD)
    dead = ClientRegistry(store, 30.0, owner=DEAD)
    watch(dead, "app-1", 3)
    dead.publish()
    assert not clients.all_acknowledged("cache", 4)
    clients.forget_dead()
    clock.now += 29
    assert not clients.all_acknowledged("cache", 4)
    clock.now += 1
    assert clients.all_acknowledged("cache", 4)
    clients.forget_dead()
    assert set(store.acks()) == {process_identity()}
    (frozen,) = clients.laggards("cache", 4)  # it may come back, or write without
    assert (frozen.client, frozen.lease_over) == ("app-1", True)
    watch(clients, "app-1", 4)
    assert clients.laggards("cache", 4) == []


def test_clients_of_a_process_without_a_sign_of_life_are_not_waited_for(
    store: Store, clients: ClientRegistry, clock: Clock
) -> None:
    hung = ClientRegistry(store, 30.0, owner=process_identity(os.getppid()))
    hung.watch_began("cache", "app-1", 3, "10.0.0.7")
    hung.publish()
    assert not clients.all_acknowledged("cache", 4)
    clock.now += 49
    assert not clients.all_acknowledged("cache", 4)
    clock.now += 1
    assert clients.all_acknowledged("cache", 4)
    assert store.metaservers() == () and len(clients.laggards("cache", 4)) == 1


def test_a_client_whose_lease_is_over_lags_until_it_acknowledges_or_leaves(
    clients: ClientRegistry, clock: Clock
) -> None:
    for client in ("frozen", "gone", "live"):
        watch(clients, client, 3)
    clock.now += 31
    watch(clients, "live", 3)
    assert {(each.client, each.lease_over) for each in clients.laggards("cache", 4)} == {
        ("live", False),
        ("frozen", True),
        ("gone", True),
    }
    clients.leave("cache", "gone")
    watch(clients, "frozen", 4)
    assert [each.client for each in clients.laggards("cache", 4)] == ["live"]
    clock.now += 31
    clients.laggards("cache", 4)
    clock.now += LAPSED_SECONDS + 1
    watch(clients, "new", 4)
    clock.now += 31
    assert [each.client for each in clients.laggards("cache", 5)] == ["new"]


def test_a_client_that_left_one_process_lags_at_no_other(
    store: Store, clients: ClientRegistry, clock: Clock
) -> None:
    other = ClientRegistry(store, 30.0, owner=process_identity(os.getppid()), clock=clock)
    watch(clients, "app-1", 3)
    watch(other, "app-1", 3)
    other.leave("cache", "app-1")
    other.publish()
    assert clients.laggards("cache", 4) == []
    clients.forget_dead()
    assert clients.live("cache") == []
    watch(clients, "app-2", 3)
    clock.now += 31
    watch(other, "app-2", 4)
    other.publish()
    assert [each.client for each in clients.lapsed("cache")] == ["app-2"]
    clients.forget_dead()
    assert clients.lapsed("cache") == []


def test_more_clients_than_a_report_names_are_counted(store: Store, clock: Clock) -> None:
    many = ClientRegistry(store, 30.0, owner=process_identity(os.getppid()), clock=clock)
    for number in range(LISTED + 30):
        watch(many, f"app-{number}", 4 if number else 3)
    many.publish()
    clients = ClientRegistry(store, 30.0, clock=clock)
    assert [(each.client, each.count) for each in clients.laggards("cache", 4)] == [("app-0", 1)]
    last = clients.laggards("cache", 5)[-1]
    assert (last.client, last.version, last.count, last.lease_over) == (None, 4, 30, False)
    found = clients.convergence("cache", 4)
    assert found["versions"] == [
        {"version": 4, "clients": LISTED + 29},
        {"version": 3, "clients": 1},
    ]
    assert (found["converged"], found["lagging"], found["acknowledged"]) == (
        False,
        1,
        LISTED + 29,
    )
    assert [each["client"] for each in found["laggards"]] == ["app-0"]


def test_a_report_that_nobody_can_read_is_no_reason_to_go_on(
    store: Store, clients: ClientRegistry
) -> None:
    store.publish_acks(process_identity(os.getppid()), {"at": 1, "pools": {"cache": [3]}})
    assert not clients.all_acknowledged("cache", 4)


def test_only_news_is_published(store: Store, clients: ClientRegistry, clock: Clock) -> None:
    watch(clients, "app-1", 3)
    watch(clients, "app-2", 4)
    clients.publish()
    marker = store.change_marker()
    watch(clients, "app-2", 4)
    clients.publish()
    assert store.change_marker() == marker
    clock.now += 10
    clients.publish()  # a sign of life
    assert store.change_marker() != marker


def test_a_new_client_is_published_before_it_is_told(store: Store, clients: ClientRegistry) -> None:
    assert clients.watch_began("cache", "app-1", 0, "10.0.0.7")
    assert not clients.wait_published(0.0)
    stop = threading.Event()
    publisher = threading.Thread(target=clients.publish_until, args=(stop, 0.1))
    publisher.start()
    assert clients.wait_published(60.0)
    other = ClientRegistry(store, 30.0, owner=DEAD)
    assert [each.client for each in other.laggards("cache", 1)] == ["app-1"]
    assert not clients.watch_began("cache", "app-1", 1, "10.0.0.7")
    stop.set()
    publisher.join()


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_the_time_of_day_is_nothing_to_a_lease(
    clients: ClientRegistry, clock: Clock, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    watch(clients, "app-1", 3)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + jump)
    clock.now += 29
    assert clients.count("cache") == 1
    clock.now += 2
    assert clients.count("cache") == 0


def test_a_token_has_so_many_clients(store: Store, clock: Clock) -> None:
    clients = ClientRegistry(store, 30.0, per_token=3, clock=clock)
    for number in range(3):
        clients.watch_began("cache", f"app-{number}", 1, "10.0.0.7", token="a")
    with pytest.raises(RequestRefused, match="--max-clients") as caught:
        clients.watch_began("other", "app-3", 1, "10.0.0.7", token="a")
    assert caught.value.code == "too-many-clients"
    clients.watch_began("cache", "app-2", 2, "10.0.0.7", token="a")  # known clients are accepted
    clients.watch_began("cache", "app-2", 2, "10.0.0.7", token="b")  # and those of other tokens
    clients.leave("cache", "app-0", token="a")
    clients.watch_began("other", "app-4", 1, "10.0.0.7", token="a")
    assert clients.count("cache") == 3
    assert clients.count("other") == 1


def test_who_is_gone_makes_room_and_who_is_live_never_does(store: Store, clock: Clock) -> None:
    clients = ClientRegistry(store, 30.0, per_token=2, clock=clock)
    clients.watch_began("cache", "held", 1, "10.0.0.7")
    watch(clients, "gone", 1)
    clock.now += 31
    watch(clients, "new", 1)
    assert {each.client for each in clients.live("cache")} == {"held", "new"}
    clock.now += 5
    with pytest.raises(RequestRefused):
        watch(clients, "newer", 1)
    assert not clients.all_acknowledged("cache", 2)


def test_nobody_speaks_for_the_clients_of_another_token(clients: ClientRegistry) -> None:
    clients.watch_began("cache", "app", 1, "10.0.0.7", token="a")
    clients.watch_began("cache", "app", 9, "10.0.0.8", token="b")
    clients.leave("cache", "app", token="b")
    assert not clients.all_acknowledged("cache", 2)


@given(st.lists(st.tuples(st.sampled_from("sRL+"), st.integers(0, 5), st.sampled_from("ab"))))
def test_the_count_of_a_token_is_that_of_its_clients(
    steps: list[tuple[str, int, str]],
) -> None:
    """Calls in any order leave no more clients than allowed, and count none twice."""
    clock = Clock()
    clients = ClientRegistry(cast("Store", None), 30.0, per_token=3, clock=clock)
    for step, number, token in steps:
        pool, name = f"pool-{number % 2}", f"app-{number}"
        if step == "s":
            with suppress(RequestRefused):
                clients.watch_began(pool, name, 1, "10.0.0.7", token=token)
        elif step == "R":
            clients.watch_ended(pool, name, token=token)
        elif step == "L":
            clients.leave(pool, name, token=token)
        else:
            clock.now += 20
        live = [key for table in clients._pools.values() for key in table]
        for each in "ab":
            counted = sum(1 for owner, _ in live if owner == each)
            assert clients._of_token[each] == counted <= 3


def test_those_of_other_processes_are_counted(
    store: Store, clients: ClientRegistry, clock: Clock
) -> None:
    other = ClientRegistry(store, 30.0, owner=process_identity(os.getppid()), clock=clock)
    for client in ("one", "two"):
        watch(other, client, 1)
    watch(clients, "three", 1)
    other.publish()
    assert (clients.count("cache"), clients.count_all("cache")) == (1, 3)
    store.publish_acks(process_identity(os.getppid()), {"at": 1, "pools": {"cache": [3]}})
    clock.now += 5.0
    assert clients.count_all("cache") == 1
