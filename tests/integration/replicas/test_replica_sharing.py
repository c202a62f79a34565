"""Replicas are measured once for all clients of a pool in a process that log in alike."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from operator import methodcaller
from typing import Any

import pytest

from cachemesh import CacheMesh
from tests.support.both_clients import CLIENTS, Caller, calling
from tests.support.plain_redis import direct
from tests.support.replicated_stack import Replicated, replicated
from tests.support.waiting import until


@pytest.fixture(scope="module")
def site() -> Iterator[Replicated]:
    with replicated() as found:
        yield found


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    yield
    gc.collect()
    until(lambda: measuring() == 0)


def measuring() -> int:
    return [thread.name for thread in threading.enumerate()].count("cachemesh-replication")


def measurers(site: Replicated) -> list[int]:
    """How many connections each instance has over which it is asked for its offset."""
    found = []
    for process in site.processes:
        with direct(process) as client:
            clients: Any = client.client_list(_type="normal")
        ours = [each for each in clients if not each["name"].startswith("sentinel")]
        found.append(sum(each["cmd"] == "info" for each in ours))
    return found


def sees_its_writes(caller: Caller, key: str, value: str) -> None:
    caller(methodcaller("set", key, value))
    assert caller(methodcaller("get", key)) == value.encode()


@pytest.mark.parametrize("kind", CLIENTS)
def test_twenty_clients_measure_once(site: Replicated, kind: str) -> None:
    with ExitStack() as several:
        options = {"read_from": "replica"}
        callers = [
            several.enter_context(calling(kind, site.url, **options, socket_timeout=20 + at))
            for at in range(20)
        ]
        for at, caller in enumerate(callers):
            sees_its_writes(caller, f"k{at}", "v")
        assert measuring() == 1
        until(lambda: measurers(site) == [1] * len(site.processes))
        closes = "close" if kind == "sync" else "aclose"
        for caller in callers[:19]:  # the one that connected among them
            caller(methodcaller(closes))
        for number in range(20):
            sees_its_writes(callers[19], f"k{number}", f"{number}")
        assert measuring() == 1
        callers[19](methodcaller(closes))
        until(lambda: measuring() == 0)
        sees_its_writes(callers[0], "k0", "again")
        assert measuring() == 1


def test_who_wants_it_more_often_decides_for_all(site: Replicated) -> None:
    with calling("sync", site.url, read_from="prefer_replica") as seldom:
        sees_its_writes(seldom, "k", "1")
        run = seldom.mesh._core._prober._rounds
        assert run.interval == 0.5
        with calling("sync", site.url, read_from="replica", max_lag=0.2) as often:
            sees_its_writes(often, "k", "2")
            assert often.mesh._core._prober._rounds is run
            assert run.interval < 0.1
        assert run.interval == 0.5


def test_other_logins_are_measured_apart(site: Replicated) -> None:
    for process in site.processes:
        with direct(process) as client:
            client.acl_setuser(
                "app", True, passwords="+pw", keys="*", commands=["+@all"], reset=True
            )
    login = {"username": "app", "password": "pw"}
    with (
        calling("sync", site.url, read_from="replica") as one,
        calling("sync", site.url, read_from="replica", decode_responses=False) as same,
        calling("sync", site.url, read_from="replica", **login) as other,
    ):
        for caller in (one, same, other):
            sees_its_writes(caller, "k", "v")
        assert measuring() == 2


def test_clients_that_are_dropped_are_measured_for_no_more(site: Replicated) -> None:
    clients: list[Any] = [CacheMesh.from_url(site.url, read_from="replica") for _ in range(5)]
    for client in clients:
        client.set("k", "v")
        assert client.get("k") == b"v"
    assert measuring() == 1
    client = None
    clients.clear()
    gc.collect()
    until(lambda: measuring() == 0)


def test_a_forked_child_measures_for_itself(site: Replicated) -> None:
    with calling("sync", site.url, read_from="replica") as caller:
        sees_its_writes(caller, "k", "parent")
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                before = measuring()
                sees_its_writes(caller, "child", "v")
                code = 0 if (before, measuring()) == (0, 1) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        sees_its_writes(caller, "k", "still")
        assert measuring() == 1
