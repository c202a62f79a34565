"""Servers that break the protocol or hang, and a scripted Sentinel that leads clients to them."""

from __future__ import annotations

import fcntl
import socket
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING

import hiredis

from tests.support.waiting import until

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

Words = list[bytes]
Answer = Callable[[Words], "bytes | None"]
"""What to send for a command; None: nothing. Ends with `HANG_UP`: then the connection is closed."""

HANG_UP = b"<hang up>"


class Server:
    """A server on a free port whose replies a test decides.

    Args:
        answer: called with the words of each command; returns the bytes to send.
        host: the address to listen at; "0.0.0.0" for every address of this machine.

    Attributes:
        answer: as given; tests may replace it.
    """

    def __init__(self, answer: Answer, host: str = "127.0.0.1") -> None:
        self.answer = answer
        self._peers: list[object] = []
        self._marks: list[object] = []
        self._listener = socket.create_server((host, 0), backlog=4096)
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self._listener.getsockname()
        return host, port

    def __str__(self) -> str:
        host, port = self.address
        return f"{host}:{port}"

    @property
    def connections(self) -> int:
        """How many connections clients have made so far."""
        return len(self._peers) - len(self._marks)

    def connections_so_far(self) -> int:
        """Return `connections`, once every connection that was made before the call is counted."""
        with socket.create_connection(self.address) as last:
            mark = last.getsockname()
            until(lambda: mark in self._peers)
            self._marks.append(mark)
            return self.connections

    def push(self, data: bytes) -> None:
        """Send data on the latest connection, and return once the client's socket has it."""
        sock = self._open[-1]
        with suppress(OSError):
            sock.sendall(data)
            until(lambda: not _unreceived(sock))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, and close all connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close all connections."""
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, peer = self._listener.accept()
            except OSError:
                return
            self._peers.append(peer)
            self._open.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        reader = hiredis.Reader()
        with sock, suppress(OSError):
            while data := sock.recv(65_536):
                reader.feed(data)
                while words := reader.gets():
                    reply = self.answer(words)
                    if reply is None:
                        continue
                    self.write(sock, words, reply.removesuffix(HANG_UP))
                    if reply.endswith(HANG_UP):
                        return

    def write(self, sock: socket.socket, words: Words, reply: bytes) -> None:
        """Send the reply to a command."""
        sock.sendall(reply)


def _unreceived(sock: socket.socket) -> int:
    """Return how many sent bytes the other side's socket has not acknowledged yet.

    Raises:
        OSError: the socket is closed.

    Source: tcp(7), SIOCOUTQ, whose number is that of TIOCOUTQ.
    """
    left = fcntl.ioctl(_descriptor(sock), termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(left, sys.byteorder)


def _descriptor(sock: socket.socket) -> int:
    number = sock.fileno()
    if number < 0:
        raise OSError("the socket is closed")
    return number


def greeting(words: Words) -> bytes | None:
    """Return a master's reply to a command of the handshake; None for any other command."""
    name = words[0].upper()
    if name == b"HELLO":
        return b"-ERR unknown command 'HELLO'\r\n" if len(words) < 2 else _hello(words[1])
    if name == b"ROLE":
        return b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"
    if name == b"CLIENT":
        return b"+OK\r\n"
    return None


def _hello(version: bytes) -> bytes:
    return b"%%2\r\n$5\r\nproto\r\n:%s\r\n$4\r\nrole\r\n$6\r\nmaster\r\n" % version


def after_greeting(attack: bytes | None) -> Answer:
    """Return the answers of a master that sends ``attack`` for every command of an app."""

    def answer(words: Words) -> bytes | None:
        return greeting(words) or attack

    return answer


def sentinel(masters: Mapping[str, tuple[str, int]]) -> Answer:
    """Return the answers of a Sentinel that knows these masters; changes of the mapping count."""

    def bulk(*texts: object) -> bytes:
        parts = [str(text).encode() for text in texts]
        return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)

    def answer(words: Words) -> bytes | None:
        name = b" ".join(words[:2]).upper()
        if name == b"SENTINEL GET-MASTER-ADDR-BY-NAME":
            found = masters.get(words[2].decode())
            return bulk(*found) if found else b"*-1\r\n"
        if name.startswith(b"SUBSCRIBE"):
            return b"*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n"
        if name.startswith(b"CLIENT"):
            return b"+OK\r\n"
        return b"+PONG\r\n" if name.startswith(b"PING") else b"-ERR unknown\r\n"

    return answer


@contextmanager
def full_backlog() -> Iterator[tuple[str, int]]:
    """Yield an address that answers no SYN: the queue of its listener is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(3):
            sock = socket.socket()
            sock.setblocking(False)
            with suppress(BlockingIOError):
                sock.connect(listener.getsockname())
            waiting.append(sock)
        try:
            yield listener.getsockname()
        finally:
            for sock in waiting:
                sock.close()


def silent() -> Server:
    """Return a server that accepts connections and never replies."""
    return Server(lambda words: None)


class Trickler(Server):
    """A master whose reply comes byte by byte and never ends.

    Args:
        pause: seconds between two bytes.
        greets: whether the handshake is answered at once.
    """

    def __init__(self, pause: float, greets: bool = True) -> None:
        super().__init__(lambda words: (greeting(words) if greets else None) or b"$99999\r\n")
        self._pause = pause
        self._ended = threading.Event()
        threading.Thread(target=self._trickle, daemon=True).start()

    def _trickle(self) -> None:
        while not self._ended.wait(self._pause):
            for sock in list(self._open):
                with suppress(OSError):
                    sock.sendall(b"x")

    def close(self) -> None:
        """Stop sending, and close all connections."""
        self._ended.set()
        super().close()
