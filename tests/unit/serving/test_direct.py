"""Calls that are answered on the socket itself: what they leave to everybody else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal

import gevent
import gevent.event
import gevent.socket
import pytest

from cachemesh.serving import direct
from cachemesh.serving.direct import DirectConnection, DirectServer
from tests.support.waiting import AT_MOST

pytestmark = pytest.mark.skipif(not DirectServer.possible(), reason="needs epoll")


class EndlessReplies:
    """Calls of which each is answered again and again, so that there is always a reply to send."""

    def __init__(self) -> None:
        self.slices = 0
        self.some = gevent.event.Event()  # set after some slices
        self.more = True
        self._server: DirectServer | None = None

    def takes(self, begun: bytes) -> bool:
        return True

    def serve_on(self, server: DirectServer) -> None:
        self._server = server

    def slice_begins(self) -> None:
        self.slices += 1
        if self.slices == 5:
            self.some.set()

    def begin(self, connection: DirectConnection, data: bytes) -> Literal["taken"]:
        self.ended(connection, True)
        return "taken"

    def expired(self, connection: DirectConnection) -> None:
        raise AssertionError("nothing expires here")

    def ended(self, connection: DirectConnection, sent: bool) -> None:
        assert self._server is not None
        if self.more:
            self._server.reply([connection], b"")


def no_hand_over(connection: DirectConnection) -> None:
    raise AssertionError("nothing is handed over here")


@pytest.fixture
def calls() -> Iterator[EndlessReplies]:
    calls = EndlessReplies()
    yield calls
    calls.more = False


def test_other_sockets_are_served_after_each_slice(calls: EndlessReplies) -> None:
    server = DirectServer(calls, no_hand_over, 1)
    server.start()
    client, served = gevent.socket.socketpair()
    server.adopt(served.detach(), b"call", "", None)
    asking, asked = gevent.socket.socketpair()
    seen: gevent.event.AsyncResult[int] = gevent.event.AsyncResult()

    def answer(sock: Any) -> None:
        sock.recv(1)
        seen.set(calls.slices)

    gevent.spawn(answer, asked)
    with client, asking, asked:
        assert calls.some.wait(AT_MOST)
        before = calls.slices
        asking.send(b"?")
        at = seen.get(timeout=30)
        assert at is not None
        assert at - before <= 3


class EchoedCalls(EndlessReplies):
    """Calls that are answered with themselves."""

    def begin(self, connection: DirectConnection, data: bytes) -> Literal["taken"]:
        assert self._server is not None
        connection.call = data
        self._server.reply([connection], data)
        return "taken"

    def ended(self, connection: DirectConnection, sent: bool) -> None:
        assert connection.call is not None


def test_a_call_that_came_in_time_is_answered_however_late_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(direct, "KEEP_SECONDS", 0.1)
    server = DirectServer(EchoedCalls(), no_hand_over, 1)
    server.start()
    client, served = gevent.socket.socketpair()
    client.settimeout(30)
    server.adopt(served.detach(), b"first", "", None)
    with client:
        assert client.recv(100) == b"first"
        client.send(b"second")
        time.sleep(0.2)  # the whole process stands still
        assert client.recv(100) == b"second"
        assert client.recv(100) == b""  # closed: nothing came for as long as connections are kept
