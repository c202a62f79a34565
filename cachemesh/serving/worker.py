"""gunicorn's gevent worker, with bounds on what one connection may cost."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import weakref
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import FrameType
from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker

from cachemesh.serving.body import Body

BODY_SECONDS = 10.0  # from the end of the headers to the end of the body
SEND_SECONDS = 30.0  # for the peer to take what is sent to it
_DRAIN_SECONDS = 5.0  # to discard a body that the app did not read
_DRAIN_BYTES = 8 * 1024 * 1024
_LINGER_SECONDS = 1.0

_PR_SET_PDEATHSIG = 1

# By class name, as releases of gunicorn differ in which there are; anything else is our fault.
_STATUSES = {
    "LimitRequestLine": 414,
    "LimitRequestHeaders": 431,
    "UnsupportedTransferCoding": 501,
    "ExpectationFailed": 417,
    "InvalidResponseHeader": 500,
    "InvalidResponseHeaderName": 500,
    "ConfigurationProblem": 500,
    "ParseException": 400,
}

ErrorReply = Callable[[HTTPStatus, str], tuple[Mapping[str, str], str]]
"""(status, what is wrong) -> headers and text of the reply."""


class Worker(GeventWorker):
    """A gevent worker that ends held requests at once when it is told to stop."""

    app: Any  # the `Server`, whose module imports this one

    def init_process(self) -> None:
        """Runs in the new process, and only returns at its end."""
        _die_with_parent(self.ppid)
        super().init_process()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM: the graceful end."""
        self.alive = False
        # Not in the signal handler itself: ending requests switches greenlets.
        gevent.spawn(self._leave)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """SIGINT, SIGQUIT: the same."""
        self.handle_exit(sig, frame)

    def _leave(self) -> None:
        if self.app.stop_app is not None:
            self.app.stop_app()
        gevent.sleep(self.app.site.last_words)
        sys.exit(0)

    def handle_request(self, listener_name: Any, req: Any, sock: socket.socket, addr: Any) -> bool:
        """One request; True, for gunicorn. Raises StopIteration if no other may follow it."""
        sock.settimeout(SEND_SECONDS)
        # By a weak reference, so that what a request held goes with its reply.
        req.body = body = Body(req.body, BODY_SECONDS, weakref.proxy(req))
        try:
            # Past GeventWorker, which only adds the next `except`: each frame of each held watch
            # counts.
            super(GeventWorker, self).handle_request(listener_name, req, sock, addr)
            if not body.drained(_DRAIN_SECONDS, _DRAIN_BYTES):
                raise StopIteration
        except (gevent.GreenletExit, SystemExit):  # the worker ends
            return True
        except TimeoutError as error:  # the peer takes nothing
            raise StopIteration from error
        except StopIteration:
            if not body.drained(0.0, 0):
                _linger(sock)
            raise
        return True

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer what gunicorn could not make a request of, or the app no reply to."""
        status = _status_of(exc)
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log.error("a request failed", exc_info=exc)
        else:
            self.log.warning("not a request, from %s: %s", addr and addr[0], exc)
        headers, text = self.app.site.error(status, str(exc)[:200])
        body = text.encode()
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        try:
            client.settimeout(SEND_SECONDS)
            client.sendall("\r\n".join(lines).encode("latin-1") + body)
        except OSError:
            return  # nobody is there to be told
        _linger(client)


def _status_of(error: BaseException) -> HTTPStatus:
    names = [kind.__name__ for kind in type(error).__mro__]
    return HTTPStatus(next((_STATUSES[name] for name in names if name in _STATUSES), 500))


def _linger(sock: socket.socket) -> None:
    """Let the peer read the last reply: closing with unread bytes would reset the connection."""
    try:
        sock.shutdown(socket.SHUT_WR)
        gevent.with_timeout(_LINGER_SECONDS, _discard_all, sock, timeout_value=None)
    except OSError:
        return


def _discard_all(sock: socket.socket) -> None:
    while sock.recv(64 * 1024):
        pass


def _die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, however it dies (prctl(2), Linux).

    Elsewhere gunicorn's own look at the parent, once a second, has to do.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)
