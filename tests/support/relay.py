"""A TCP relay before a server, which cuts whoever goes through it off."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import Literal

from typing_extensions import Self

from cachemesh.core.names import parse_address
from tests.support.plain_redis import direct
from tests.support.waiting import AT_MOST, until

Cut = Literal["refuses", "is silent"]

_READ = 65_536
_OF_A_SOURCE = ("restore", "select", "NULL")
_RESET = struct.pack("ii", 1, 0)  # for SO_LINGER


class Relay:
    """Listens on a free port of the loopback and passes everything on to one server.

    Args:
        upstream: "host:port" of the server.

    Attributes:
        address: "host:port" where the relay listens.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = parse_address(upstream)
        self._passes = threading.Event()
        self._passes.set()
        self._refuses = False
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        host, port = self._listener.getsockname()
        self.address = f"{host}:{port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, how: Cut) -> None:
        """Cut off: end every connection at once, or let nothing through until `heal`."""
        if how == "refuses":
            self._refuses = True
            self._hang_up()
        else:
            self._passes.clear()

    def heal(self) -> None:
        """Pass everything on again, also what came meanwhile and found only silence."""
        self._refuses = False
        self._passes.set()

    def lets_through(self, data: bytes) -> bool:
        """Return whether data goes on."""
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.heal()
        self._hang_up()

    def _hang_up(self) -> None:
        for sock in list(self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refuses:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()
                continue
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        self._passes.wait()
        with client, suppress(OSError), socket.create_connection(self._upstream) as server:
            self._open |= {client, server}
            answers = threading.Thread(target=self._pass_on, args=(server, client), daemon=True)
            answers.start()
            self._pass_on(client, server)
            answers.join()
            self._open -= {client, server}

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_READ):
                self._passes.wait()
                if self.lets_through(data):
                    target.sendall(data)
        for sock in (source, target):  # one end is gone: so is the other
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class SelectiveRelay(Relay):
    """A relay that keeps for itself what has a word in it, as a firewall may.

    Args:
        swallowed: what comes with this word does not go on.

    Attributes:
        seen: all that came, in both directions.
    """

    def __init__(self, upstream: str, swallowed: bytes) -> None:
        self._swallowed = swallowed
        self.seen = bytearray()
        super().__init__(upstream)

    def lets_through(self, data: bytes) -> bool:
        """Return whether data has not the word."""
        self.seen += data
        return self._swallowed not in data


class HangingUpRelay(Relay):
    """A relay that ends the connection over which a word comes, so many times, as a fence may.

    Args:
        word: does not go on then.

    Attributes:
        times: how often yet.
    """

    def __init__(self, upstream: str, word: bytes, times: int) -> None:
        self._word, self.times = word, times
        super().__init__(upstream)

    def lets_through(self, data: bytes) -> bool:
        """Return True, or end the connection."""
        if self._word in data and self.times:
            self.times -= 1
            raise ConnectionAbortedError
        return True


class GatheringRelay(Relay):
    """A relay that ends so many connections together, once a word has come over each of them.

    Args:
        word: does not go on then.
        count: of the connections.

    Attributes:
        gathered: they have been.
    """

    def __init__(self, upstream: str, word: bytes, count: int) -> None:
        self._word, self.gathered = word, threading.Event()
        self._all = threading.Barrier(count, self.gathered.set, AT_MOST)
        super().__init__(upstream)

    def lets_through(self, data: bytes) -> bool:
        """Return True, or end the connection."""
        if self._word in data and not self.gathered.is_set():
            self._all.wait()
            raise ConnectionAbortedError
        return True


class LateRelay(Relay):
    """A relay that passes on late what has a word in it, once, as a network that loses a packet.

    Args:
        word: in what is late.

    Attributes:
        kept: something is late.
        arrives: lets it arrive.
    """

    def __init__(self, upstream: str, word: bytes) -> None:
        self._word = word
        self.kept, self.arrives, self._ended = (threading.Event() for _ in range(3))
        self._late: threading.Thread | None = None
        super().__init__(upstream)

    def lets_through(self, data: bytes) -> bool:
        """Return True, once what is late may arrive."""
        if self._word in data and not self.kept.is_set():
            self._late = threading.current_thread()
            self.kept.set()
            self.arrives.wait()
        return True

    def let_arrive(self) -> None:
        """Return once what was late has been dealt with, by a server that may have cut it off."""
        self.arrives.set()
        assert self._ended.wait(AT_MOST)
        with direct(str(self._upstream)) as server:

            def copying() -> int:
                return sum(each["cmd"] in _OF_A_SOURCE for each in server.client_list())

            until(lambda: copying() <= 1)  # a source keeps one connection open

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        super()._pass_on(source, target)
        if threading.current_thread() is self._late:
            self._ended.set()

    def __exit__(self, *of: object) -> None:
        self.arrives.set()
        super().__exit__(*of)
