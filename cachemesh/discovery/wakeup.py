"""Signals between threads: one ends reads from a socket, one wakes a thread in a selector."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class StopEvent(threading.Event):
    """An event that tells threads to end, and shuts down the socket that one of them reads."""

    def __init__(self) -> None:
        super().__init__()
        self._socket_read: socket.socket | None = None

    def set(self) -> None:
        """Tell the threads to end. Any thread may call this; the call never blocks."""
        super().set()
        sock = self._socket_read
        if sock is not None:
            _shut_down(sock)

    @contextmanager
    def interrupts(self, sock: socket.socket) -> Iterator[None]:
        """Within the context, `set` ends reads from ``sock`` as if the peer had closed it."""
        self._socket_read = sock
        if self.is_set():  # `set` was called before the socket was known
            _shut_down(sock)
        try:
            yield
        finally:
            self._socket_read = None


class Wakeup:
    """Wakes the one thread that waits for this object in a selector."""

    def __init__(self) -> None:
        self._sender, self._receiver = socket.socketpair()
        self._sender.setblocking(False)
        self._receiver.setblocking(False)

    def wake(self) -> None:
        """Wake the thread. Any thread may call this; the call never blocks."""
        with suppress(OSError):  # a wakeup is pending already, or the other end is closed
            self._sender.send(b"!")

    def clear(self) -> None:
        """Discard pending wakeups: the thread is awake."""
        with suppress(OSError):
            self._receiver.recv(4096)

    def fileno(self) -> int:
        """Return the file descriptor for the selector."""
        return self._receiver.fileno()

    def close(self) -> None:
        """Close both ends; later calls of `wake` do nothing."""
        self._sender.close()
        self._receiver.close()


def _shut_down(sock: socket.socket) -> None:
    with suppress(OSError):  # closed meanwhile
        sock.shutdown(socket.SHUT_RDWR)
