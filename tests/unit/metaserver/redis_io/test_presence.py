"""What an operator takes for gone has to be gone: nothing answers, and nothing only hangs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.presence import ANSWERS, HANGS, PresenceCheck

CONFIG = Config(Path("none"), instance_timeout=0.3)
LOCAL = AllowedNetworks(["127.0.0.0/8"])


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def address_of(listening: socket.socket) -> str:
    return f"127.0.0.1:{listening.getsockname()[1]}"


def replying(listening: socket.socket, reply: bytes) -> threading.Thread:
    """Reply once to whoever connects, then close the connection."""

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            if reply:
                connection.recv(100)
                connection.sendall(reply)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "reply", [b"+PONG\r\n", b"-LOADING x\r\n", b"-NOAUTH x\r\n", b"HTTP/1.1\r\n"]
)
def test_whatever_answers_is_there(listener: socket.socket, reply: bytes) -> None:
    server = replying(listener, reply)
    assert PresenceCheck(CONFIG, LOCAL).at([address_of(listener)]) == {
        address_of(listener): ANSWERS
    }
    server.join()


def test_what_accepts_connections_and_says_nothing_is_there(listener: socket.socket) -> None:
    assert PresenceCheck(CONFIG, LOCAL).at([address_of(listener)]) == {address_of(listener): HANGS}


def test_a_relay_to_nobody_is_nobody(listener: socket.socket) -> None:
    server = replying(listener, b"")
    assert PresenceCheck(CONFIG, LOCAL).at([address_of(listener)]) == {}
    server.join()


def test_where_nothing_listens_is_nobody(listener: socket.socket) -> None:
    address = address_of(listener)
    listener.close()
    assert PresenceCheck(CONFIG, LOCAL).at([address]) == {}
    assert PresenceCheck(CONFIG, LOCAL).at([]) == {}


def test_of_what_may_not_be_asked_nobody_knows(listener: socket.socket) -> None:
    elsewhere = AllowedNetworks(["10.0.0.0/8"])
    found = PresenceCheck(CONFIG, elsewhere).at([address_of(listener)])
    assert "outside the allowed networks" in found[address_of(listener)]
