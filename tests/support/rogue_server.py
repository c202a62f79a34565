"""Servers that break the protocol, to attack the client with; and a Sentinel that leads to them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

import hiredis

from tests.support.waiting import until

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

Words = list[bytes]
Answer = Callable[[Words], "bytes | None"]
"""What to send for a command; None: nothing. Ends with `HANG_UP`: then the connection is closed."""

HANG_UP = b"<hang up>"


class Server:
    """Listens on a free port and answers each command with what ``answer`` says.

    With ``host`` "0.0.0.0" it does so at every address of this machine.

    Attributes:
        connections: how many have been made so far.
    """

    def __init__(self, answer: Answer, host: str = "127.0.0.1") -> None:
        self.answer = answer
        self._peers: list[object] = []
        self._marks: list[object] = []
        self._timers: list[threading.Timer] = []
        self._listener = socket.create_server((host, 0), backlog=4096)
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._listener.getsockname()
        return host, port

    def __str__(self) -> str:
        host, port = self.address
        return f"{host}:{port}"

    @property
    def connections(self) -> int:
        return len(self._peers) - len(self._marks)

    def connections_so_far(self) -> int:
        """As `connections`, once all that clients have made by now are counted."""
        with socket.create_connection(self.address) as last:
            mark = last.getsockname()
            until(lambda: mark in self._peers)
            self._marks.append(mark)
            return self.connections

    def after(self, seconds: float, data: bytes) -> None:
        """Send this on the latest connection, a while from now."""
        timer = threading.Timer(seconds, _send, (self._open[-1], data))
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def await_sent(self) -> None:
        """Wait until all that `after` was told to send is sent."""
        while self._timers:
            self._timers.pop().join()

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
        """Stop listening, and end all connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """End all connections."""
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
                    self._send(sock, reply.removesuffix(HANG_UP))
                    if reply.endswith(HANG_UP):
                        return

    def _send(self, sock: socket.socket, data: bytes) -> None:
        sock.sendall(data)


def _send(sock: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        sock.sendall(data)


def greeting(words: Words) -> bytes | None:
    """What a master says while a connection is set up; None for any other command."""
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
    """A master that answers every command of an app with ``attack``."""

    def answer(words: Words) -> bytes | None:
        return greeting(words) or attack

    return answer


def sentinel(masters: Mapping[str, tuple[str, int]]) -> Answer:
    """A Sentinel that knows these masters."""

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
    """An address that answers no SYN: nobody accepts, and its queue is full."""
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
    """Accepts, and never says a word."""
    return Server(lambda words: None)


class Trickler(Server):
    """A master whose replies come byte by byte, without an end.

    Args:
        pause: seconds between two bytes.
        greets: the handshake is answered at once.
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
        self._ended.set()
        super().close()
