"""One blocking connection to an instance: a socket and its hiredis reader."""

from __future__ import annotations

import math
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any

import hiredis

from cachemesh.core.names import Address
from cachemesh.core.resilience.retry import Timeouts
from cachemesh.transport import redis_py
from cachemesh.transport.redis_py import MORE, PUSH

READ_SIZE = 65_536
LUMP = 16_384
"""Bytes that an idle socket takes in one call; more may block until the server reads."""

_ON_TIME = 0.9  # of the bound on waiting: if so much is left, the bound is not set anew


def _closed() -> bool:
    return True


class Connection:
    """One connection, for one thread at a time.

    Attributes:
        address: of the instance.
        began: when `Instance.start` sent what it waits for now, by `time.monotonic`.
        send, recv, feed, gets: the calls of an exchange.
        sent: the command that has this connection to itself was sent, see `has_arrived`.
        has_input, has_reply: true between two exchanges: the server has closed the connection, or
            has sent something that nobody asked for.
    """

    __slots__ = (
        "__weakref__",
        "_bound",
        "_reader",
        "_redis_connection",
        "address",
        "began",
        "feed",
        "gets",
        "has_input",
        "has_reply",
        "recv",
        "send",
        "sent",
        "timeouts",
    )

    def __init__(self, redis_connection: Any, address: Address, reader: hiredis.Reader) -> None:
        sock = redis_py.socket_of(redis_connection)
        self._redis_connection = redis_connection
        self._reader = reader
        # Looked up once: an exchange is made of little else.
        self.send, self.recv = sock.sendall, sock.recv
        self.feed, self.gets = reader.feed, reader.gets
        self.has_input, self.has_reply = redis_py.input_probe(sock), reader.has_data
        self.address = address
        self.began = 0.0
        self.sent = True
        self.timeouts: Timeouts | None = None  # of the instance, when the bound was last set
        self._bound = -1.0  # not set yet

    def wait_at_most(self, seconds: float | None) -> None:
        """Set the bound on each wait for bytes, in seconds; None or infinity for no bound."""
        bound = math.inf if seconds is None else max(seconds, 0.001)
        if bound != self._bound:
            limit = None if bound == math.inf else bound
            redis_py.bound_waiting(redis_py.socket_of(self._redis_connection), limit)
            self._bound = bound

    def wait_until(self, deadline: float) -> None:
        """Bound each wait for bytes by a deadline, roughly.

        Args:
            deadline: by `time.monotonic`.

        Raises:
            TimeoutError: the deadline has passed.
        """
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no reply in time")
        if not self._bound * _ON_TIME <= left <= self._bound:
            self.wait_at_most(left)

    def send_within(self, payload: bytes, deadline: float) -> None:
        """Send before a deadline, also if the server reads in small pieces.

        Args:
            deadline: by `time.monotonic`.

        Raises:
            OSError: the connection broke, or the server has not read all in time.
        """
        if len(payload) <= LUMP:
            self.send(payload)
            return
        rest = memoryview(payload)
        while rest:
            self.wait_until(deadline)
            rest = rest[redis_py.socket_of(self._redis_connection).send(rest) :]

    def read(self, decode: bool = True, deadline: float = math.inf) -> Any:
        """Return the next reply; an error reply is returned, not raised.

        Args:
            decode: whether to decode the reply.
            deadline: by `time.monotonic`. The bound on waits may be lower afterwards.

        Raises:
            OSError: the connection broke or was closed, or no reply came in time.
            redis.InvalidResponse: what came is not RESP.
        """
        try:
            reply = self.gets(decode)
            while reply is MORE or reply.__class__ is PUSH:
                if reply is MORE:
                    self._more(deadline)
                reply = self.gets(decode)
        except (TypeError, ValueError) as error:
            redis_py.raise_unreadable(error)
        return reply

    def _more(self, deadline: float) -> None:
        self.wait_until(deadline)
        data = self.recv(READ_SIZE)
        if not data:
            raise ConnectionResetError("Connection closed by server")
        self.feed(data)

    def read_all(self, decode: Sequence[bool], deadline: float = math.inf) -> list[Any]:
        """Return as many replies as ``decode`` has items. Arguments and errors as of `read`.

        A reply that cannot be decoded stands in the list as a `UnicodeDecodeError`.
        """
        gets, replies = self.gets, []
        if decode and not self.has_reply():
            self._more(deadline)
        try:
            for wanted in decode:
                try:
                    reply = gets(wanted)
                    if reply is MORE or reply.__class__ is PUSH:
                        reply = self.read(wanted, deadline)
                except UnicodeDecodeError as error:
                    reply = error  # read to its end: the other replies are good
                replies.append(reply)
        except (TypeError, ValueError) as error:
            redis_py.raise_unreadable(error)
        return replies

    def has_arrived(self) -> bool:
        """Return whether the server's machine has the command that has this connection to itself.

        From any thread.
        """
        return self.sent and redis_py.has_arrived(redis_py.socket_of(self._redis_connection))

    def close(self) -> None:
        """Close the connection.

        Whoever finds it among the idle ones all the same, as its user was interrupted, takes it
        for stale: another socket may have the number of this one by then.
        """
        self.has_input = _closed
        self._redis_connection.disconnect()

    def send_no_more(self) -> None:
        """Tell the server that nothing more comes: it closes; what it has sent still arrives."""
        try:
            sock = redis_py.socket_of(self._redis_connection)
            # Shutting down one direction of a TLS connection would end both anyhow.
            sock.shutdown(socket.SHUT_RDWR if isinstance(sock, ssl.SSLSocket) else socket.SHUT_WR)
        except (OSError, AttributeError):
            return  # it is closed already

    def shut(self) -> None:
        """End the connection under another thread: a wait of that thread gets an error."""
        try:
            redis_py.socket_of(self._redis_connection).shutdown(socket.SHUT_RDWR)
        except (OSError, AttributeError):
            return  # it is closed already
