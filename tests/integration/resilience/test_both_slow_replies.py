"""A server that says what is right, but slowly: that is bounded in all, not for each read."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

import cachemesh
import cachemesh.asyncio.listener
import cachemesh.sync.listener
from tests.support.both_clients import CLIENTS, Caller, Driven, calling
from tests.support.movable_pool import MovablePool
from tests.support.rogue_server import Server, Words
from tests.support.waiting import until

LIMIT = 0.3

both = pytest.mark.parametrize("kind", CLIENTS)


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text), text)


PADDING = b"x" * 200
REPLIES = {
    b"HELLO": b"%2\r\n" + bulk(b"proto") + b":3\r\n" + bulk(b"padding") + bulk(PADDING),
    b"ROLE": b"*4\r\n" + bulk(b"master") + b":0\r\n*0\r\n" + bulk(PADDING),
    b"GET": bulk(PADDING),
    b"EXEC": b"*1\r\n" + bulk(PADDING),
    b"SUBSCRIBE": b">3\r\n" + bulk(b"subscribe") + bulk(PADDING) + b":1\r\n",
}
HANDSHAKE = {b"HELLO", b"CLIENT", b"ROLE"}


class Slow(Server):
    """A master that takes its time for the replies to some commands.

    Args:
        slow: names of these commands.
        pieces: in how many they come, with `LIMIT` / 2 before each. A connection that waits for
            each of them anew sees no time limit exceeded.

    Attributes:
        begun: command -> how many slow replies were begun.
        whole: as ``begun``, sent to the end.
    """

    def __init__(self, *slow: bytes, pieces: int = 60) -> None:
        self.slow, self.pieces = slow, pieces
        self.begun: Counter[bytes] = Counter()
        self.whole: Counter[bytes] = Counter()
        self._closed = threading.Event()
        super().__init__(lambda words: REPLIES.get(words[0].upper(), b"+%s\r\n" % PADDING))

    def write(self, sock: socket.socket, words: Words, reply: bytes) -> None:
        name = words[0].upper()
        if name not in self.slow:
            sock.sendall(reply)
            return
        self.begun[name] += 1
        size = len(reply) // self.pieces + 1
        for at in range(0, len(reply), size):
            if self._closed.wait(LIMIT / 2):
                return
            sock.sendall(reply[at : at + size])
        self.whole[name] += 1

    def close(self) -> None:
        self._closed.set()
        super().close()


@contextmanager
def slow_master(
    kind: str, directory: Path, *slow: bytes, pieces: int = 60, **options: Any
) -> Iterator[tuple[Slow, Caller]]:
    """One, and a client that shall not wait for it."""
    options = {"command_timeout": LIMIT, "protocol": 3, **options}
    with (
        Slow(*slow, pieces=pieces) as server,
        MovablePool({"cache-0": server.address}, directory) as site,
        calling(kind, site.url, **options) as call,
    ):
        yield server, call


def subscribe(call: Caller) -> None:
    pubsub = call.drive(call.mesh.pubsub())
    try:
        pubsub.subscribe("channel")
        pubsub.get_message(timeout=0)
    finally:
        pubsub.close()


def fails_until(
    condition: Callable[[], bool],
    use: Callable[[], Any],
    error: type[Exception] = cachemesh.ShardUnavailableError,
) -> None:
    """Use a client until a condition is true; it has to fail each time.

    On a slow machine the time limit may be over before the server has read anything.
    """

    def failed() -> bool:
        with pytest.raises(error):
            use()
        return condition()

    until(failed)


CONNECTING: dict[str, Callable[[Caller], Any]] = {
    "GET": lambda call: call.driven.get("k"),
    "WATCH": lambda call: call.drive(call.mesh.pipeline()).watch("k"),
    "SUBSCRIBE": subscribe,
}


@both
@pytest.mark.parametrize("use", CONNECTING)
@pytest.mark.parametrize("slow", sorted(HANDSHAKE))
def test_a_handshake_that_comes_byte_by_byte(
    slow: bytes, use: str, kind: str, tmp_path: Path
) -> None:
    with slow_master(kind, tmp_path, slow) as (server, call):
        fails_until(lambda: server.begun[slow] > 0, lambda: CONNECTING[use](call))
        assert not server.whole[slow]


@both
@pytest.mark.parametrize("use", CONNECTING)
def test_a_handshake_of_many_replies_that_are_slow(use: str, kind: str, tmp_path: Path) -> None:
    """Each comes in time, and all of them together do not."""
    with slow_master(kind, tmp_path, *HANDSHAKE, pieces=1) as (server, call):
        fails_until(lambda: server.begun[b"HELLO"] > 0, lambda: CONNECTING[use](call))
        assert not server.whole[b"ROLE"]


@both
def test_a_handshake_has_the_time_for_connecting(kind: str, tmp_path: Path) -> None:
    """Which is less than that for the command, so it is tried again until the breaker opens."""
    options: dict[str, Any] = {"command_timeout": 60.0, "connect_timeout": LIMIT}
    with slow_master(kind, tmp_path, b"ROLE", **options) as (server, call):
        fails_until(lambda: server.begun[b"ROLE"] > 1, lambda: call.driven.get("k"))
        assert not server.whole[b"ROLE"]


def watching(call: Caller) -> Driven:
    """A pipeline that watches; the time limit may be too short for the first."""
    pipe = call.drive(call.mesh.pipeline())

    def watches() -> bool:
        with suppress(cachemesh.ShardUnavailableError):
            pipe.watch("k")
        return bool(pipe.watching)

    until(watches)
    return pipe


def transaction(pipe: Driven, commands: int = 1) -> None:
    pipe.it.multi()
    for _ in range(commands):
        pipe.it.set("k", "v")
    pipe.execute()


def unwatched(call: Caller) -> Driven:
    return call.drive(call.mesh.pipeline())


LATE = cachemesh.ShardTimeoutError
LOST = redis.WatchError
"""What redis-py raises once the connection that watched is lost."""


@both
@pytest.mark.parametrize(
    ("slow", "begin", "use", "error"),
    [
        (b"WATCH", unwatched, lambda pipe: pipe.watch("k"), LATE),
        (b"GET", watching, lambda pipe: pipe.get("k"), LOST),
        (b"EXEC", watching, transaction, LOST),
        (b"EXEC", unwatched, transaction, LATE),
    ],
)
def test_a_reply_in_a_transaction_that_comes_byte_by_byte(
    slow: bytes,
    begin: Callable[[Caller], Driven],
    use: Callable[[Driven], Any],
    error: type[Exception],
    kind: str,
    tmp_path: Path,
) -> None:
    with slow_master(kind, tmp_path, slow) as (server, call):
        pipe = begin(call)
        with pytest.raises(error):
            use(pipe)
        assert not server.whole[slow]
        pipe.reset()
        assert not in_use(call)


@both
def test_a_transaction_of_many_replies_that_are_slow(kind: str, tmp_path: Path) -> None:
    with slow_master(kind, tmp_path, b"SET", pieces=1) as (server, call):
        pipe = unwatched(call)
        with pytest.raises(LATE):
            transaction(pipe, 20)
        assert server.whole[b"SET"] < 20


@both
def test_unwatching_that_comes_byte_by_byte(kind: str, tmp_path: Path) -> None:
    """The connection is closed, which is as good."""
    with slow_master(kind, tmp_path, b"UNWATCH") as (server, call):
        pipe = watching(call)
        pipe.reset()
        assert not pipe.watching
        until(lambda: server.begun[b"UNWATCH"])
        assert not server.whole[b"UNWATCH"]
        assert not in_use(call)


def in_use(call: Caller) -> Any:
    """Connections that the pool has given out."""
    return call.mesh.connection_pool._in_use_connections


def test_a_connection_of_its_own(tmp_path: Path) -> None:
    with slow_master("sync", tmp_path, b"GET", single_connection_client=True) as (server, call):
        fails_until(lambda: server.begun[b"GET"] > 0, lambda: call.mesh.get("k"), LATE)
        assert not server.whole[b"GET"]


@both
def test_a_confirmation_that_comes_byte_by_byte(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (cachemesh.sync.listener, cachemesh.asyncio.listener):
        monkeypatch.setattr(module, "CONFIRM_SECONDS", LIMIT)
    with slow_master(kind, tmp_path, b"SUBSCRIBE") as (server, call):
        with pytest.raises(cachemesh.ShardUnavailableError):
            subscribe(call)
        assert not server.whole[b"SUBSCRIBE"]


@both
def test_listening_has_no_limit(kind: str, tmp_path: Path) -> None:
    """Nor has a message that comes in part: its rest is waited for."""
    with slow_master(kind, tmp_path) as (server, call):
        pubsub = call.drive(call.mesh.pubsub(ignore_subscribe_messages=True))

        def subscribed() -> bool:  # the time limit may be too short for the first
            with suppress(cachemesh.ShardUnavailableError):
                pubsub.subscribe(PADDING)
                return True
            return False

        until(subscribed)
        made = server.connections
        assert pubsub.get_message(timeout=3 * LIMIT) is None
        message = b">3\r\n" + bulk(b"message") + bulk(PADDING) + bulk(b"data")
        for at in range(0, len(message), 50):
            assert pubsub.get_message(timeout=LIMIT / 2) is None
            server.push(message[at : at + 50])
        assert until(lambda: pubsub.get_message(timeout=1.0))["data"] == b"data"
        assert server.connections == made
        pubsub.close()
