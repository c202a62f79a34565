"""Calls that a site answers on the socket itself, without its WSGI app, and may hold for long.

    accepted --> first bytes --> does the site take them? --no--> gunicorn, WSGI app
                                       | yes                          ^
                                       v                              | not such a call after all
    one epoll of all connections --> slices of 2 milliseconds --> begin() --+--> held --> reply()
                    ^                                                                  |
                    +------------------ kept open for the next call -------------------+

A held call costs a record and a socket instead of a greenlet with the app's stack. Replies, which
may be due to all connections at once, are sent before anything is read, and other greenlets of the
process run after each slice.
"""

from __future__ import annotations

import heapq
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any, Literal, Protocol, TypeAlias

import gevent
import gevent.event
import gevent.monkey

KEEP_SECONDS = 5.0  # for which a connection without a call is kept
SEND_SECONDS = 30.0  # for the peer to take a reply
_WHOLE_SECONDS = 1.0  # for the rest of a request, before the WSGI app waits for it in its own way
_SLICE = 0.002  # CPU seconds of work before others run; a call of the API takes about as many
_READ = 64 * 1024
_MOST_BUFFERED = 128 * 1024  # bytes of one connection
_EVENTS = 16
_IN, _OUT = 0x001, 0x004  # EPOLLIN and EPOLLOUT of epoll_ctl(2), which gevent removes from `select`

Verdict: TypeAlias = Literal["more", "other", "taken"]
"""What bytes are: the beginning of a call, not such a call, or a call that is taken."""

HandOver = Callable[["DirectConnection"], None]


class DirectCalls(Protocol):
    """The calls of a site that do without the WSGI app."""

    def takes(self, begun: bytes) -> bool:
        """Return whether a request that begins with these bytes may be such a call."""

    def serve_on(self, server: DirectServer) -> None:
        """Remember the server that holds the calls."""

    def slice_begins(self) -> None:
        """Note that some time may have passed since the last call."""

    def begin(self, connection: DirectConnection, data: bytes) -> Verdict:
        """Take a call: the reply is given to `DirectServer.reply`, now or later.

        Args:
            connection: the call's connection; its `call` is the site's to set.
            data: what was received since the last call; never changed when the verdict is "other".
        """

    def expired(self, connection: DirectConnection) -> None:
        """Reply to a held call whose time is up."""

    def ended(self, connection: DirectConnection, sent: bool) -> None:
        """Note the end of a call: its reply is sent, or the peer is gone."""


class DirectConnection:
    """A connection between two calls, or with one.

    Attributes:
        sock: the socket, which never blocks.
        address: the peer's IP address.
        context: what the hand-over to the WSGI app needs.
        call: the site's record of the call in progress; None without one.
        mark: the site's memory of the last call.
        buffer: what was received and is not taken yet.
        unsent: what is left of the reply.
        begun: when the first bytes of a call came that is not whole yet, in monotonic seconds; else
            0.
        due: when the call expires, or the connection is closed, in monotonic seconds.
        planned: when `due` is looked at next.
    """

    __slots__ = (
        *("address", "begun", "buffer", "call", "closed", "context", "due", "mark", "planned"),
        *("sock", "unsent"),
    )

    def __init__(self, sock: Any, address: str, context: Any, begun: bytes) -> None:
        self.sock = sock
        self.address = address
        self.context = context
        self.buffer = begun
        self.call: Any = None
        self.mark = 0
        self.begun = 0.0
        self.unsent: memoryview | None = None
        self.due = self.planned = float("inf")
        self.closed = False


class DirectServer:
    """Serves the direct calls of one process.

    Args:
        calls: of the site.
        hand_over: passes a connection, with what it has received, on to the WSGI app.
        most: connections that are held at once.
    """

    def __init__(self, calls: DirectCalls, hand_over: HandOver, most: int) -> None:
        self._calls = calls
        self._hand_over = hand_over
        self._most = most
        self._poll: Any = gevent.monkey.get_original("select", "epoll")()
        self._connections: dict[int, DirectConnection] = {}
        self._replies: deque[tuple[DirectConnection, bytes]] = deque()
        self._adopted: deque[DirectConnection] = deque()
        self._due: list[tuple[float, int, DirectConnection]] = []
        self._planned = 0
        self._idle: deque[tuple[float, DirectConnection]] = deque()  # kept open, by `due`
        self._awake = gevent.event.Event()
        calls.serve_on(self)

    @staticmethod
    def possible() -> bool:
        """Return whether this system has epoll, which gevent removes from `select`."""
        return sys.platform == "linux"

    def start(self) -> None:
        """Serve, in a greenlet."""
        watcher = gevent.get_hub().loop.io(self._poll.fileno(), 1)
        watcher.start(self._awake.set)
        gevent.spawn(self._run)

    def takes(self, begun: bytes) -> bool:
        """Return whether a connection that begins with these bytes should be adopted."""
        return len(self._connections) < self._most and self._calls.takes(begun)

    def adopt(self, fd: int, begun: bytes, address: str, context: Any) -> None:
        """Take over a connection, by its file descriptor, with what it has received."""
        sock = gevent.monkey.get_original("socket", "socket")(fileno=fd)
        sock.setblocking(False)
        connection = DirectConnection(sock, address, context, begun)
        self._connections[fd] = connection
        self._poll.register(fd, _IN)
        self._adopted.append(connection)
        self._awake.set()

    def reply(self, connections: Iterable[DirectConnection], data: bytes) -> None:
        """Send the reply to the calls of these connections, soon."""
        self._replies.extend(zip(connections, repeat(data)))
        self._awake.set()

    def expire(self, connection: DirectConnection, due: float) -> None:
        """Have the call expire at a time of the monotonic clock, unless it is answered before."""
        connection.due = due
        if due < connection.planned:
            self._planned += 1
            connection.planned = due
            heapq.heappush(self._due, (due, self._planned, connection))

    def flush(self) -> None:
        """Send what is to be sent, without regard for other greenlets."""
        while self._replies:
            self._send(*self._replies.popleft())

    def _run(self) -> None:
        while True:
            first = [queue[0][0] for queue in (self._due, self._idle) if queue]
            left = min(first) - time.monotonic() if first else None
            if left is None or left > 0:
                self._awake.wait(left)
            self._awake.clear()
            while self._slice():
                # After sleep(0), sockets are looked at only once in 50 turns (CALLBACK_CHECK_COUNT
                # of gevent's loop). An idle watcher of high priority is called whenever they have
                # been looked at.
                gevent.idle(1)

    def _slice(self) -> bool:
        """Work for the time of a slice; return whether there may be more to do."""
        self._calls.slice_begins()
        end = time.thread_time() + _SLICE
        while self._replies:
            self._send(*self._replies.popleft())
            if time.thread_time() > end:
                return True
        while self._look_at_due(time.monotonic()):
            if time.thread_time() > end:
                return True
        while self._adopted:
            self._begin(self._adopted.popleft())
            if time.thread_time() > end:
                return True
        while events := self._poll.poll(0, _EVENTS):
            for fd, _event in events:
                self._serve(fd)
            if time.thread_time() > end:
                return True
        return bool(self._replies or self._adopted)

    def _look_at_due(self, now: float) -> bool:
        """Look at the first connection whose time is up; return whether there was one."""
        if self._idle and self._idle[0][0] <= now:
            due, connection = self._idle.popleft()
            if connection.due == due and self._is_silent(connection):
                self._serve(connection.sock.fileno())  # what has come in time may not be read yet
                if connection.due == due and self._is_silent(connection):
                    self._close(connection)
        elif self._due and self._due[0][0] <= now:
            planned, _, connection = heapq.heappop(self._due)
            if not connection.closed and connection.planned == planned:
                connection.planned = float("inf")
                self._end(connection, now)
        else:
            return False
        return True

    @staticmethod
    def _is_silent(connection: DirectConnection) -> bool:
        return not connection.closed and connection.call is None and not connection.buffer

    def _end(self, connection: DirectConnection, now: float) -> None:
        """End what a connection's time was planned for, unless it has more time by now."""
        if connection.due > now:
            self.expire(connection, connection.due)
        elif connection.unsent is not None or (connection.call is None and not connection.buffer):
            self._close(connection)
        elif connection.call is None:
            self._give_away(connection)
        else:
            self._calls.expired(connection)

    def _serve(self, fd: int) -> None:
        connection = self._connections.get(fd)
        if connection is None:
            return  # closed in this slice
        if connection.unsent is not None:
            self._send_more(connection)
            return
        try:
            data = connection.sock.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or len(connection.buffer) + len(data) > _MOST_BUFFERED + _READ:
            self._close(connection)
            return
        connection.buffer += data
        if connection.call is None:
            self._begin(connection)

    def _begin(self, connection: DirectConnection) -> None:
        if connection.closed:
            return
        verdict = self._calls.begin(connection, connection.buffer)
        if verdict == "taken":
            connection.buffer = b""
            connection.begun = 0.0
        elif verdict == "other" or len(connection.buffer) > _MOST_BUFFERED:
            self._give_away(connection)
        elif not connection.begun:  # not with each of its bytes: they may drip
            connection.begun = time.monotonic()
            self.expire(connection, connection.begun + _WHOLE_SECONDS)

    def _send(self, connection: DirectConnection, data: bytes) -> None:
        if connection.closed:
            return
        try:
            sent = connection.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(connection)
            return
        if sent < len(data):
            connection.unsent = memoryview(data)[sent:]
            self._poll.modify(connection.sock.fileno(), _OUT)
            self.expire(connection, time.monotonic() + SEND_SECONDS)
        else:
            self._sent(connection)

    def _send_more(self, connection: DirectConnection) -> None:
        assert connection.unsent is not None
        try:
            sent = connection.sock.send(connection.unsent)
        except BlockingIOError:
            return
        except OSError:
            self._close(connection)
            return
        connection.unsent = connection.unsent[sent:]
        if not connection.unsent:
            connection.unsent = None
            self._poll.modify(connection.sock.fileno(), _IN)
            self._sent(connection)

    def _sent(self, connection: DirectConnection) -> None:
        self._calls.ended(connection, sent=True)
        connection.call = None
        connection.due = time.monotonic() + KEEP_SECONDS
        self._idle.append((connection.due, connection))
        if connection.buffer:
            self._adopted.append(connection)

    def _give_away(self, connection: DirectConnection) -> None:
        self._forget(connection)
        self._hand_over(connection)

    def _close(self, connection: DirectConnection) -> None:
        self._forget(connection)
        connection.sock.close()
        if connection.call is not None:
            self._calls.ended(connection, sent=False)
            connection.call = None

    def _forget(self, connection: DirectConnection) -> None:
        fd = connection.sock.fileno()
        self._poll.unregister(fd)
        del self._connections[fd]
        connection.closed = True
