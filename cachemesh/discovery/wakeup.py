"""Interrupts threads that wait for the network: one class to end them, one to wake them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class StopEvent(threading.Event):
    """An event that also interrupts one thread's read from a socket."""

    def __init__(self) -> None:
        super().__init__()
        self._waited_on: socket.socket | None = None

    def set(self) -> None:
        """Set the event and shut down the socket that is read. Thread-safe; does not wait."""
        super().set()
        sock = self._waited_on
        if sock is not None:
            _shut_down(sock)

    @contextmanager
    def interrupts(self, sock: socket.socket) -> Iterator[None]:
        """Let `set` end reads from ``sock`` during the block, as if the peer had closed it.

        Args:
            sock: a connected socket.
        """
        self._waited_on = sock
        if self.is_set():  # `set` came before the socket was known
            _shut_down(sock)
        try:
            yield
        finally:
            self._waited_on = None


class Wakeup:
    """Wakes one thread that waits in a selector. The object itself is registered there."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)

    def wake(self) -> None:
        """Wake the thread. Thread-safe; does not wait."""
        with suppress(OSError):  # the buffer is full, or the other end is closed
            self._near.send(b"!")

    def clear(self) -> None:
        """Consume all wake-ups so far; called by the woken thread."""
        with suppress(OSError):
            self._far.recv(4096)

    def fileno(self) -> int:
        """Return the file descriptor to wait for, for the selector."""
        return self._far.fileno()

    def close(self) -> None:
        """Close both ends; called once nothing waits any more."""
        self._near.close()
        self._far.close()


def _shut_down(sock: socket.socket) -> None:
    with suppress(OSError):  # already closed
        sock.shutdown(socket.SHUT_RDWR)
