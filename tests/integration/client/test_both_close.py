"""What is under way when either kind of client is closed, and what its pools leave behind."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.credentials import CredentialProvider

import cachemesh
from cachemesh.local import Process
from tests.support.both_clients import CLIENTS, Caller, Driven, calling
from tests.support.movable_pool import MovablePool, movable_pool_of, reset
from tests.support.plain_redis import direct, target
from tests.support.waiting import until

both = pytest.mark.parametrize("kind", CLIENTS)
NAME = "of-this-test"


@pytest.fixture
def site(redises: list[Process], tmp_path: Path) -> Iterator[MovablePool]:
    for process in redises:
        reset(process)
    with movable_pool_of(redises[:1], tmp_path) as made:
        yield made


@pytest.fixture
def call(kind: str, site: MovablePool) -> Iterator[Caller]:
    with calling(kind, site.url, client_name=NAME) as caller:
        yield caller


def connections(process: Process) -> int:
    with direct(process) as client:
        found: Any = client.client_list()
    return sum(each["name"] == NAME for each in found)


def watching(call: Caller) -> Driven:
    call.driven.set("k", "v")
    pipe = call.drive(call.mesh.pipeline())
    pipe.watch("k")
    return pipe


@both
@pytest.mark.parametrize("how", ["the client", "the pool"])
@pytest.mark.parametrize("then", ["MULTI", "a command"])
def test_a_transaction_whose_watching_connection_was_closed_does_not_run(
    call: Caller, redises: list[Process], then: str, how: str
) -> None:
    pipe = watching(call)
    if how == "the client":
        call.driven.close()
    else:
        call.drive(call.mesh.connection_pool).disconnect()
    with direct(redises[0]) as other:
        other.set("k", "of another")
    with pytest.raises(redis.WatchError):
        if then == "MULTI":
            pipe.it.multi()
            pipe.it.set("k", "mine")
            pipe.execute()
        else:
            pipe.get("k")
    pipe.reset()
    assert call.driven.get("k") == b"of another"
    pipe.watch("k")
    pipe.it.multi()
    pipe.it.set("k", "mine")
    assert pipe.execute() == [True]


@both
def test_closing_leaves_no_connection(call: Caller, redises: list[Process]) -> None:
    pipe = watching(call)
    pubsub = call.drive(call.mesh.pubsub())
    pubsub.subscribe("c")
    assert connections(redises[0]) >= 3
    call.driven.close()
    until(lambda: connections(redises[0]) == 0)
    with pytest.raises(redis.WatchError):
        pipe.get("k")
    pipe.reset()
    pubsub.close()
    assert connections(redises[0]) == 0


@both
def test_a_topology_under_way_when_a_client_is_closed_does_not_open_it_again(call: Caller) -> None:
    core: Any = call.mesh._core
    call.driven.set("k", "v")
    set_policy = core._set_policy

    def closed(settings: Any) -> None:
        del core._set_policy
        call.driven.close()
        set_policy(settings)

    core._set_policy = closed
    core.apply(core._topology)
    assert core.route_table is None
    assert call.driven.get("k") == b"v"
    assert core.membership.health() is not None, "it follows the pool again"


def test_a_cancelled_task_leaves_no_client_half_closed(site: MovablePool) -> None:
    with calling("asyncio", site.url) as call:
        call.driven.set("k", "v")
        core = call.mesh._core

        async def cancelled(mesh: Any) -> None:
            closing = asyncio.ensure_future(mesh.aclose())
            await asyncio.sleep(0)
            closing.cancel()
            await asyncio.wait([closing])
            assert closing.cancelled()

        call(cancelled)
        until(lambda: core.route_table is None)
        until(core.drained)
        assert call.driven.get("k") == b"v"


class Tokens(CredentialProvider):
    """A login from a service that does not answer the first few times."""

    def __init__(self, away: int) -> None:
        self.away = away

    def get_credentials(self) -> tuple[str]:
        if self.away:
            self.away -= 1
            raise OSError("the token service is away")
        return ("pw",)

    async def get_credentials_async(self) -> tuple[str]:
        return self.get_credentials()


@both
@pytest.mark.parametrize("name", ["GET", "SET", "WATCH", "SUBSCRIBE"])
def test_a_login_that_cannot_be_had_is_no_connection(
    name: str, kind: str, site: MovablePool, redises: list[Process]
) -> None:
    """The next connection asks for the login again; no connection is used without one."""
    with direct(redises[0]) as client:
        client.config_set("requirepass", "pw")
    tokens = Tokens(away=10**9)
    options: dict[str, Any] = {"credential_provider": tokens, "command_timeout": 0.5}
    try:
        with calling(kind, site.url, **options) as call:
            uses = {
                "GET": lambda: call.driven.get("k"),
                "SET": lambda: call.driven.set("k", "v"),
                "WATCH": lambda: call.drive(call.mesh.pipeline()).watch("k"),
                "SUBSCRIBE": lambda: call.drive(call.mesh.pubsub()).subscribe("c"),
            }
            with pytest.raises(cachemesh.ShardUnavailableError, match="token service"):
                uses[name]()
            tokens.away = 0
            until(lambda: call.health().breaker == "closed")
            uses[name]()
    finally:
        with redis.Redis(*target(redises[0]), password="pw") as client:
            client.config_set("requirepass", "")


@both
def test_a_master_that_is_left_keeps_no_connection(
    call: Caller, site: MovablePool, redises: list[Process]
) -> None:
    """That holds for connections of WATCH too, and none is left to be collected."""
    watching(call).reset()
    assert connections(redises[0]) >= 2
    site.masters["cache-0"] = target(redises[1])
    with direct(redises[0]) as old:
        old.replicaof(*target(redises[1]))
    call.driven.set("k", "w")
    until(lambda: connections(redises[0]) == 0)
    gc.collect()  # what other tests have left
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        call.driven.close()
        gc.collect()
    assert not [each for each in seen if issubclass(each.category, ResourceWarning)]


@both
def test_a_topology_that_arrives_while_a_client_closes_opens_nothing(call: Caller) -> None:
    """The thread that follows the pool has found the client open, and applies the topology late."""
    call.driven.set("k", "v")
    core = call.mesh._core
    topology, closings = core.topology(), core.closings
    call(lambda mesh: getattr(mesh, "aclose", mesh.close)())
    core.apply(topology, closings)
    assert core.route_table is None
    assert call.driven.get("k") == b"v", "a later command starts again"
