"""Admission of instances as masters, with real and false Redis servers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.local import LocalStack
from metaserver.process.config import RedisAuth
from metaserver.redis_io.admission import (
    InstanceReport,
    check_empty,
    check_new_master,
    check_unused,
)
from metaserver.redis_io.allowed_networks import AllowedNetworks, InstanceRejected
from tests.support.metaserver_loops import NETWORKS
from tests.support.plain_redis import connect
from tests.support.waiting import AT_MOST, in_time

NOBODY = RedisAuth()


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=1, sentinels=1, metaservers=0, dashboard=False) as stack:
        yield stack


def look(
    address: str,
    auth: RedisAuth = NOBODY,
    *,
    allowed: AllowedNetworks = NETWORKS,
    timeout: float = 2.0,
) -> InstanceReport:
    return check_new_master(address, auth, allowed=allowed, timeout=timeout)


def rejected(address: str, **options: Any) -> InstanceRejected:
    with pytest.raises(InstanceRejected) as caught:
        look(address, **options)
    assert caught.value.address == address
    assert address.rpartition(":")[0] in caught.value.detail
    assert caught.value.next_step
    return caught.value


def hang(peer: socket.socket) -> None:
    peer.recv(1)


def trickle(peer: socket.socket) -> None:
    for _ in range(600):
        peer.sendall(b"+")
        time.sleep(0.05)


def flood(peer: socket.socket) -> None:
    peer.sendall(b"$1000000000\r\n")
    while True:
        peer.sendall(b"x" * 65536)


def speak_http(peer: socket.socket) -> None:
    peer.recv(4096)
    peer.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def always_ok(peer: socket.socket) -> None:
    while peer.recv(4096):
        peer.sendall(b"+OK\r\n" * 3)


def always_error(peer: socket.socket) -> None:
    while peer.recv(4096):
        peer.sendall(b"-ERROR\r\n" * 3)


def hang_up(peer: socket.socket) -> None:
    peer.recv(4096)


@contextmanager
def listening(speak: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that is no Redis."""
    server = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            peer, _ = server.accept()
            threading.Thread(target=talk, args=(peer,)).start()

    def talk(peer: socket.socket) -> None:
        with peer:
            try:
                speak(peer)
                if speak is hang:
                    ended.wait(AT_MOST)
            except OSError:
                pass  # the metaserver closed the connection

    thread = threading.Thread(target=serve)
    thread.start()
    host, port = server.getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        ended.set()
        socket.create_connection((host, port)).close()
        thread.join()
        server.close()


@pytest.mark.parametrize(
    ("speak", "reason"),
    [
        (hang, "timeout"),
        (trickle, "timeout"),
        (flood, "not-redis"),
        (speak_http, "not-redis"),
        (always_ok, "not-redis"),
        (always_error, "not-redis"),
        (hang_up, "not-redis"),
    ],
)
def test_what_is_not_redis_is_told_apart_in_time(
    speak: Callable[[socket.socket], None], reason: str
) -> None:
    with listening(speak) as address:
        began = time.monotonic()
        assert rejected(address, timeout=0.5).reason == reason
        in_time(time.monotonic() - began, 0.5)


def test_refused_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = rejected(f"127.0.0.1:{port}")
    assert error.reason == "unreachable"
    assert "refused" in error.detail


def test_unknown_host_name() -> None:
    assert rejected("no-such-host.invalid:6379").reason == "unreachable"


@pytest.mark.parametrize("address", ["10.1.2.3:6379", "[2001:db8::1]:6379"])
def test_address_outside_the_allowed_networks(address: str) -> None:
    error = rejected(address)
    assert error.reason == "address-not-allowed"
    assert "127.0.0.0/8" in error.detail


@pytest.mark.parametrize("address", ["127.1:6379", "localhost:6379", "[::ffff:127.0.0.1]:6379"])
def test_loopback_by_any_name_is_not_allowed_unless_said(address: str) -> None:
    with pytest.raises(InstanceRejected) as caught:
        AllowedNetworks(["10.0.0.0/8", "fc00::/7"]).check(address)
    assert caught.value.reason == "address-not-allowed"


def test_a_name_is_looked_up_once() -> None:
    assert NETWORKS.check("localhost:6379") == "127.0.0.1:6379"


def test_malformed_address() -> None:
    with pytest.raises(InvalidDocumentError):
        look("127.0.0.1")


def test_a_master_with_its_replicas(stack: LocalStack) -> None:
    shard = stack.info["shards"][0]
    report = look(shard["master"])
    assert report.address == shard["master"]
    assert list(report.replicas) == shard["replicas"]
    assert (report.keys, len(report.run_id)) == (0, 40)
    assert report.redis_version.count(".") == 2


def test_a_replica_names_its_master(stack: LocalStack) -> None:
    shard = stack.info["shards"][0]
    error = rejected(shard["replicas"][0])
    assert error.reason == "not-master"
    assert shard["master"] in error.next_step


def test_a_sentinel_is_no_instance(stack: LocalStack) -> None:
    error = rejected(stack.info["sentinels"][0])
    assert error.reason == "not-master"
    assert "Sentinel" in error.detail


def test_passwords(stack: LocalStack) -> None:
    address = str(stack.start_redis(None, "requirepass s3cret-of-test").address)
    wrong = RedisAuth(None, "another-one")
    for auth in (NOBODY, wrong, RedisAuth("somebody", "s3cret-of-test")):
        error = rejected(address, auth=auth)
        assert error.reason == "auth"
        assert "s3cret" not in f"{error} {error.detail} {auth!r}"
        assert "another-one" not in f"{error} {auth!r}"
    assert look(address, RedisAuth(None, "s3cret-of-test")).keys == 0


def test_a_cluster_node_is_in_use(stack: LocalStack) -> None:
    address = str(stack.start_redis(None, "cluster-enabled yes").address)
    assert rejected(address).reason == "in-use"


def test_an_instance_with_keys(stack: LocalStack) -> None:
    address = str(stack.start_redis().address)
    with connect(address) as client:
        client.set("one", 1)
        client.execute_command("SELECT", 3)
        client.set("two", 2)
    report = look(address)
    assert report.keys == 2
    with pytest.raises(InstanceRejected) as caught:
        check_empty(address, report)
    assert caught.value.reason == "not-empty"
    assert f"{address} holds 2 keys" in caught.value.detail


def test_in_use_is_found_by_address_and_by_run_id(stack: LocalStack) -> None:
    master = stack.info["shards"][0]["master"]
    report = look(master)
    for known_as in (master, f"localhost:{master.rpartition(':')[2]}"):
        with pytest.raises(InstanceRejected) as caught:
            check_unused(master, report, {"shard a of pool b": known_as}, NOBODY, allowed=NETWORKS)
        assert caught.value.reason == "in-use"
        assert "shard a of pool b" in caught.value.detail
    other = str(stack.start_redis().address)
    used = {"shard a of pool b": master, "c": "127.0.0.1:1"}
    check_unused(other, look(other), used, NOBODY, allowed=NETWORKS)
