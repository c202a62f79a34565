"""The fence at one server: whose connections end, whose stay, and who is let in again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cachemesh.core.fencing import MARKER
from cachemesh.core.resilience.error_classification import FencedOffError
from cachemesh.local import Process
from cachemesh.transport.aio import handshake as asyncio_handshake
from cachemesh.transport.sync import handshake
from metaserver.process.config import RedisAuth
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.client_list import LISTED
from metaserver.redis_io.fence import cannot_be_fenced, fence, lift, look
from metaserver.redis_io.shard_masters import NotShardMasterError
from metaserver.redis_io.term_fence import TermFence
from tests.support.plain_redis import target
from tests.support.waiting import AT_MOST, until

OLD, NEW = "0123456789ab", "ba9876543210"


@dataclass
class Versioned:
    """A client that acts on a version of its pool."""

    acting_version: int
    fetched: list[int] = field(default_factory=list)

    def fetch(self, version: int) -> None:
        self.fetched.append(version)


@pytest.fixture
def server(redises: list[Process]) -> Iterator[Process]:
    yield redises[0]
    with named(redises[0], "") as client:
        client.flushall()


@pytest.fixture
def leader(server: Process) -> Iterator[BoundedConnection]:
    networks, term = AllowedNetworks(("127.0.0.0/8",)), TermFence(7, lambda: None)
    address = str(server.address)
    connection = BoundedConnection(address, networks, RedisAuth(), AT_MOST, LISTED, term.enter)
    yield connection
    connection.close()


def named(server: Process, name: str) -> redis.Redis:
    """Return a client with one connection of this name, which it does not open again by itself."""
    host, port = target(server)
    return redis.Redis(
        host,
        port,
        client_name=name or None,
        single_connection_client=True,
        socket_timeout=AT_MOST,
        retry=Retry(NoBackoff(), 0),
    )


def test_only_those_who_have_not_acknowledged_lose_their_connections(
    server: Process, leader: BoundedConnection
) -> None:
    old, new = named(server, f"cachemesh:{OLD}:shop"), named(server, f"cachemesh:{NEW}")
    other, blocked = named(server, "reports"), named(server, f"cachemesh:{OLD}")
    for client in (old, new, other):
        client.ping()
    listening: Any = named(server, f"cachemesh:{OLD}")
    listening = listening.pubsub()
    listening.subscribe("news")
    ended: list[Exception] = []

    def block() -> None:
        try:
            blocked.blpop("queue", 60)
        except redis.ConnectionError as error:
            ended.append(error)

    thread = threading.Thread(target=block)
    thread.start()
    until(lambda: new.info("clients")["blocked_clients"] == 1)
    seen = look(leader)
    assert seen.clients == {OLD, NEW}
    assert seen.marker is None
    assert seen.others == {"reports": 1}
    assert "cannot be fenced" in str(cannot_be_fenced("cache-0", "here", seen.others))

    assert fence(leader, 5, {NEW}) >= 3
    thread.join()
    assert ended
    assert look(leader).clients == {NEW}
    assert look(leader).marker == 5
    assert new.ping() and other.ping()
    fence(leader, 4, {NEW})
    assert look(leader).marker == 5, "it never goes down"
    lift(leader, 4)
    assert look(leader).marker == 5, "a later resize has set it"
    lift(leader, 5)
    assert look(leader).marker is None
    lift(leader, 5)
    for client in (old, new, other, blocked):
        client.close()


def test_who_lags_is_fenced_off_a_server_that_has_no_room(
    server: Process, leader: BoundedConnection
) -> None:
    old = named(server, f"cachemesh:{OLD}")
    old.config_set("maxmemory", 1)
    try:
        if old.info("server")["redis_version"] >= "7":
            assert fence(leader, 5, {NEW}) == 1
            assert look(leader).marker == 5
        else:
            with pytest.raises(redis.ResponseError, match="OOM"):
                fence(leader, 5, {NEW})
        with pytest.raises(redis.ConnectionError):
            old.ping()
    finally:
        leader.call("CONFIG", "SET", "maxmemory", 0)
    lift(leader, 5)


@pytest.mark.parametrize("database", [0, 3])
def test_a_client_that_lags_is_let_in_no_more(server: Process, database: int) -> None:
    host, port = target(server)
    template: Any = redis.Redis(host, port, db=database).connection_pool
    aio_template: Any = redis.asyncio.Redis(host=host, port=port, db=database).connection_pool
    versioned = Versioned(4)
    for each in (template, aio_template):
        each.client_id, each.versioned = (lambda: OLD), versioned
    with named(server, "") as direct:
        direct.set(MARKER, 5)
        with pytest.raises(FencedOffError, match="acts on version 4 of the pool"):
            handshake.connect(template, server.address, {})
        with pytest.raises(FencedOffError):
            asyncio.run(asyncio_handshake.connect(aio_template, server.address, {}))
        assert versioned.fetched == [5, 5]
        direct.acl_setuser(
            "default", keys=["app:*"], reset_keys=True, enabled=True, nopass=True
        ) if database else None
        versioned.acting_version = 4 if database else 5
        connection = handshake.connect(template, server.address, {})
        connection.send_command("CLIENT", "INFO")
        assert f"db={database}".encode() in connection.read_response()
        connection.disconnect()
        direct.acl_setuser("default", keys=["*"], enabled=True, nopass=True)


def test_a_former_master_does_not_count_as_fenced(
    server: Process, leader: BoundedConnection
) -> None:
    """It has the marker that it set as master; clients are connected to the promoted one."""
    fence(leader, 5, {NEW})
    with named(server, "") as client:
        client.slaveof("127.0.0.1", "1")
        try:
            with pytest.raises(NotShardMasterError, match="is a replica"):
                fence(leader, 5, {NEW})
        finally:
            client.slaveof()
