"""Runs a WSGI app under gunicorn, with one gevent worker, on a socket that is already bound.

    main process --fork--> worker: the app, all connections
    SIGTERM to main --> SIGTERM to worker --> held requests answered, streams ended --> exit

Source: https://docs.gunicorn.org/en/stable/custom.html, gunicorn's interface for custom servers.
"""

from __future__ import annotations

import errno
import resource
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gunicorn.app.base import BaseApplication

from cachemesh.serving.direct import DirectCalls
from cachemesh.serving.tls import TlsFiles
from cachemesh.serving.worker import FINISH_SECONDS, ErrorReply, Worker

BACKLOG = 2048
_ENDS_WITHIN = 2.0  # seconds

App = Any  # a WSGI application
Factory = Callable[[], tuple[App, Callable[[], None], DirectCalls | None]]


@dataclass(frozen=True)
class Site:
    """What a server serves.

    Attributes:
        name: of the process, for `ps`.
        make_app: called in the worker, after gevent has patched it; returns the app, a function
            that ends the app's held requests and streams when the process shall stop, and what
            serves the calls that do without the app, if there are such.
        error: makes the reply to an error that gunicorn finds before it calls the app.
        connections: the most connections at once.
        last_words: seconds that unfinished replies get when the process shall stop.
        tls: the server's certificate; None: connections are not encrypted.
    """

    name: str
    make_app: Factory
    error: ErrorReply
    connections: int
    last_words: float = 0.1
    tls: TlsFiles | None = None


class Server(BaseApplication):
    """gunicorn around the app of one site, which is made in the worker, after the fork.

    Args:
        site: what to serve.
        listener: a bound socket, as `bind` returns it.
    """

    def __init__(self, site: Site, listener: socket.socket) -> None:
        self.site = site
        self.stop_app: Callable[[], None] | None = None
        self.direct_calls: DirectCalls | None = None
        self._listener = listener
        super().__init__()

    def load_config(self) -> None:
        """Set gunicorn's settings, of which releases have different ones."""
        settings: Mapping[str, Any] = {
            "bind": f"fd://{self._listener.detach()}",
            "worker_class": Worker,
            "workers": 1,
            "worker_connections": self.site.connections,
            "backlog": BACKLOG,
            "keepalive": 5,  # seconds for the headers of a request, too
            "graceful_timeout": int(FINISH_SECONDS) + 2,
            "preload_app": False,
            "errorlog": "-",
            "loglevel": "warning",
            "accesslog": None,
            "proc_name": self.site.name,
            "control_socket_disable": True,
            # Else a header of a local peer would move the path that the app sees.
            "forwarder_headers": "",
        }
        for name, value in settings.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> App:
        """Make the app; gunicorn calls this in the worker."""
        app, self.stop_app, self.direct_calls = self.site.make_app()
        return app

    def serve(self) -> None:
        """Serve until SIGTERM or SIGINT, and end the process."""
        _allow_many_files()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.run()


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Who had the address and was killed a moment ago may still be ending, so an address that is taken
    is tried again for a while.

    Raises:
        OSError: the address is taken, or not one of this machine.
    """
    until = time.monotonic() + _ENDS_WITHIN
    while True:
        try:
            return _bound(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                raise
        time.sleep(0.05)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _allow_many_files() -> None:
    """Raise the soft limit on open files to the hard one; each connection is an open file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
