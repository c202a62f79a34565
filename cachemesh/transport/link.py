"""One blocking connection to an instance: a socket and its hiredis reader."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Sequence
from typing import Any

import hiredis

from cachemesh.core.names import Address
from cachemesh.transport import adapter
from cachemesh.transport.adapter import MORE

READ_SIZE = 65_536
PUSH: type = getattr(hiredis, "PushNotification", type(MORE))  # from hiredis 3.0 on


class Link:
    """One connection. Not for two threads at once."""

    __slots__ = (
        "__weakref__",
        "_connection",
        "_reader",
        "address",
        "feed",
        "gets",
        "has_input",
        "has_reply",
        "recv",
        "send",
    )

    def __init__(self, connection: Any, address: Address, reader: hiredis.Reader) -> None:
        sock = adapter.socket_of(connection)
        self._connection = connection
        self._reader = reader
        # The calls of an exchange, looked up once: it is made of little else.
        self.send, self.recv = sock.sendall, sock.recv
        self.feed, self.gets = reader.feed, reader.gets
        # True before or after one: the server has hung up, or sent what nobody asked for.
        self.has_input, self.has_reply = adapter.input_probe(sock), reader.has_data
        self.address = address

    def wait_at_most(self, seconds: float | None) -> None:
        """Bound the waiting for bytes; None or infinity: not at all."""
        if seconds is not None and math.isinf(seconds):
            seconds = None
        adapter.bound_waiting(adapter.socket_of(self._connection), seconds)

    def read(self, decode: bool = True, deadline: float = math.inf) -> Any:
        """The next reply; an error reply is returned, not raised.

        Args:
            deadline: by `time.monotonic`; looked at before each wait for more.

        Raises:
            OSError: the connection broke or was closed, or no reply came in time.
            redis.InvalidResponse: what came is not RESP.
        """
        reply = self.gets(decode)
        while reply is MORE or reply.__class__ is PUSH:
            if reply is MORE:
                if time.monotonic() > deadline:
                    raise TimeoutError("its reply is still coming in")
                data = self.recv(READ_SIZE)
                if not data:
                    raise ConnectionResetError("Connection closed by server")
                self.feed(data)
            reply = self.gets(decode)
        return reply

    def read_all(self, decode: Sequence[bool], deadline: float = math.inf) -> list[Any]:
        """As many replies as ``decode`` has items; arguments and errors as of `read`."""
        gets, replies = self.gets, []
        for wanted in decode:
            reply = gets(wanted)
            if reply is MORE or reply.__class__ is PUSH:
                reply = self.read(wanted, deadline)
            replies.append(reply)
        return replies

    def close(self) -> None:
        """Hang up."""
        self._connection.disconnect()

    def shut(self) -> None:
        """End the connection under another thread, which waits on it: that one gets an error."""
        try:
            adapter.socket_of(self._connection).shutdown(socket.SHUT_RDWR)
        except (OSError, AttributeError):
            return  # it is closed already
