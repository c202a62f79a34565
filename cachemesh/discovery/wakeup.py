"""Signs for threads that wait for the network: to end, and to look up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class StopEvent(threading.Event):
    """An event; one of the threads that heed it may have a socket shut down when it is set."""

    def __init__(self) -> None:
        super().__init__()
        self._waited_on: socket.socket | None = None

    def set(self) -> None:
        """Let the threads end. From any thread, and never waits."""
        super().set()
        sock = self._waited_on
        if sock is not None:
            _shut_down(sock)

    @contextmanager
    def interrupts(self, sock: socket.socket) -> Iterator[None]:
        """While inside, `set` makes reads from this socket end as if the peer had closed it."""
        self._waited_on = sock
        if self.is_set():  # before it could see the socket
            _shut_down(sock)
        try:
            yield
        finally:
            self._waited_on = None


class Wakeup:
    """Wakes the one thread that waits in a selector."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)

    def wake(self) -> None:
        """Wake it. From any thread, and never waits."""
        with suppress(OSError):  # it rings already, or nobody is there any more
            self._near.send(b"!")

    def clear(self) -> None:
        """It has woken up."""
        with suppress(OSError):
            self._far.recv(4096)

    def fileno(self) -> int:
        """For the selector."""
        return self._far.fileno()

    def close(self) -> None:
        """It will not wait again."""
        self._near.close()
        self._far.close()


def _shut_down(sock: socket.socket) -> None:
    with suppress(OSError):  # closed meanwhile
        sock.shutdown(socket.SHUT_RDWR)
