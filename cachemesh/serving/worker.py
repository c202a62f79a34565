"""gunicorn's gevent worker, with limits on what one connection may cost."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import ssl
import sys
import time
import weakref
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import FrameType
from typing import Any

import gevent
import gevent.pool
import gevent.socket
from gunicorn.workers.ggevent import GeventWorker

from cachemesh.serving.body import Body
from cachemesh.serving.direct import DirectConnection, DirectServer

BODY_SECONDS = 10.0  # from the end of the headers to the end of the body
SEND_SECONDS = 30.0  # for the peer to take what is sent to it
FINISH_SECONDS = 4.0  # for requests in progress to end, when the process shall stop
_DRAIN_SECONDS = 5.0  # to discard a body that the app did not read
_DRAIN_BYTES = 8 * 1024 * 1024
_LINGER_SECONDS = 1.0
_FIRST_BYTES = 8192

_PR_SET_PDEATHSIG = 1

# By class name: releases of gunicorn have different ones. Any other exception is a 500.
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
"""Returns headers and text of the reply to (status, what is wrong)."""


class Worker(GeventWorker):
    """A gevent worker that ends held requests at once when it shall stop."""

    app: Any  # the `Server`, whose module imports this one
    _requests = 0  # that are being handled
    direct: DirectServer | None = None
    _tls: ssl.SSLContext | None = None

    def init_process(self) -> None:
        """Run in the new process; return only at its end."""
        _die_with_parent(self.ppid)
        super().init_process()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle SIGTERM: end gracefully."""
        self.alive = False
        # Not in the signal handler itself: to end requests, greenlets have to be switched.
        gevent.spawn(self._leave)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Handle SIGINT and SIGQUIT as SIGTERM."""
        self.handle_exit(sig, frame)

    def _leave(self) -> None:
        deadline = time.monotonic() + FINISH_SECONDS
        if self.app.stop_app is not None:
            self.app.stop_app()
        if self.direct is not None:
            self.direct.flush()
        while self._requests and time.monotonic() < deadline:
            gevent.sleep(0.02)
        gevent.sleep(self.app.site.last_words)
        sys.exit(0)

    def load_wsgi(self) -> None:
        """Make the app, and begin to serve the calls that do without it."""
        super().load_wsgi()
        if self.app.site.tls is not None:
            self._tls = self.app.site.tls.context()
        if self.app.direct_calls is not None and DirectServer.possible():
            most = self.app.site.connections
            self._given_away = gevent.pool.Pool(most)
            self.direct = DirectServer(self.app.direct_calls, self._take_back, most)
            self.direct.start()
        # The app lives as long as the process: a look for garbage need not go through it again.
        gc.collect()
        gc.freeze()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Handle a connection, unless it is one for the direct server."""
        if self._tls is not None:
            client = self._encrypted(client, self._tls)
            if client is None:
                return
        if self.direct is not None and not isinstance(client, ssl.SSLSocket):
            begun = self._first_bytes(client)
            if not begun:
                client.close()
                return
            if self.direct.takes(begun):
                self.direct.adopt(client.detach(), begun, addr[0], (listener, addr))
                return
            client = _BegunSocket(client.detach(), begun)
        super().handle(listener, client, addr)

    def _encrypted(self, client: Any, tls: ssl.SSLContext) -> ssl.SSLSocket | None:
        """Return the connection after its TLS handshake; None: there was none, and it is closed.

        gevent does that too, but waits for ever, and prints a traceback for each failure.
        """
        try:
            client.settimeout(self.cfg.keepalive)
            return tls.wrap_socket(client, server_side=True)
        except OSError:  # also: no handshake in time, or no certificate that the server takes
            client.close()
            return None

    def _first_bytes(self, client: Any) -> bytes:
        try:
            client.settimeout(self.cfg.keepalive)
            begun: bytes = client.recv(_FIRST_BYTES)
        except OSError:  # also: nothing came in time
            return b""
        return begun

    def _take_back(self, connection: DirectConnection) -> None:
        """Serve a connection of the direct server by the app from now on."""
        client = _BegunSocket(connection.sock.detach(), connection.buffer)
        if self._given_away.full():
            client.close()
            return
        listener, addr = connection.context
        self._given_away.spawn(super().handle, listener, client, addr)

    def handle_request(self, listener_name: Any, req: Any, sock: socket.socket, addr: Any) -> bool:
        """Handle one request and return True.

        Raises:
            StopIteration: no other request may follow on the connection (gunicorn's protocol).
        """
        self._requests += 1
        sock.settimeout(SEND_SECONDS)
        if self._tls is not None:
            req.scheme = "https"  # which gunicorn knows of files of its own settings alone
        # A weak reference, so that the request's memory is freed with its reply.
        req.body = body = Body(req.body, BODY_SECONDS, weakref.proxy(req))
        try:
            # Not GeventWorker's method, which only adds the next `except`: a stack frame less in
            # each of many held requests.
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
        finally:
            self._requests -= 1
        return True

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer bytes that are no request, or a request to which the app made no reply."""
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
            return  # the peer is gone
        _linger(client)


class _BegunSocket(gevent.socket.socket):
    """A connected socket, of which some bytes have been received already."""

    def __init__(self, fd: int, begun: bytes) -> None:
        super().__init__(fileno=fd)
        self._begun = begun

    def recv(self, *args: Any) -> bytes:
        """Receive bytes, those first that have been received already."""
        if self._begun:
            size = args[0]
            data, self._begun = self._begun[:size], self._begun[size:]
            return data
        return super().recv(*args)


def _status_of(error: BaseException) -> HTTPStatus:
    names = [kind.__name__ for kind in type(error).__mro__]
    return HTTPStatus(next((_STATUSES[name] for name in names if name in _STATUSES), 500))


def _linger(sock: socket.socket) -> None:
    """Let the peer read the last reply: to close with unread bytes would reset the connection."""
    try:
        sock.shutdown(socket.SHUT_WR)
        gevent.with_timeout(_LINGER_SECONDS, _discard_all, sock, timeout_value=None)
    except OSError:
        return


def _discard_all(sock: socket.socket) -> None:
    while sock.recv(64 * 1024):
        pass


def _die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, in whatever way.

    Not on Linux, gunicorn's own check of the parent, once a second, must do.

    Source: prctl(2), PR_SET_PDEATHSIG.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)
