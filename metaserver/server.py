"""The app under gunicorn: one gevent worker on a socket that is already bound.

    main process --fork--> worker: Runtime, Flask app, all connections
    SIGTERM to main --> SIGTERM to worker --> held watches answered, streams ended --> exit

gunicorn is used through its documented programmatic interface
(https://docs.gunicorn.org/en/stable/custom.html); nothing of it writes files.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import gevent
from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from gunicorn.workers.ggevent import GeventWorker  # type: ignore[import-untyped]

from metaserver.config import Config

CONNECTIONS = 20_000  # at once; held watches and streams are cheap
LAST_WORDS = 0.1  # seconds for replies that are under way when the worker ends

_PR_SET_PDEATHSIG = 1

Factory = Callable[[Config], tuple[Flask, Callable[[], None]]]


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """A gevent worker that ends held requests at once when it is told to stop."""

    stop_app: Callable[[], None] | None = None

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
        if Worker.stop_app is not None:
            Worker.stop_app()
        gevent.sleep(LAST_WORDS)
        sys.exit(0)


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn around the app that `factory` makes in the worker, after the fork."""

    def __init__(self, config: Config, listener: socket.socket, factory: Factory) -> None:
        self._config = config
        self._listener = listener
        self._factory = factory
        super().__init__()

    def load_config(self) -> None:
        """Settings of gunicorn."""
        settings: dict[str, Any] = {
            "bind": f"fd://{self._listener.detach()}",
            "worker_class": Worker,
            "workers": 1,
            "worker_connections": CONNECTIONS,
            "backlog": 2048,
            "keepalive": 5,
            "graceful_timeout": 2,
            "preload_app": False,
            "errorlog": "-",
            "loglevel": "warning",
            "accesslog": None,
            "proc_name": "cachemesh-metaserver",
            "control_socket_disable": True,
        }
        for name, value in settings.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Flask:
        """The app; called in the worker, which gevent has patched by then."""
        app, Worker.stop_app = self._factory(self._config)
        return app


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        OSError: the address is taken, or not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def _die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, however it dies (prctl(2), Linux).

    Elsewhere gunicorn's own look at the parent, once a second, has to do.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)


def allow_many_files() -> None:
    """Raise the soft limit on open files to the hard one: a connection each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve(config: Config, listener: socket.socket, factory: Factory) -> None:
    """Run until SIGTERM or SIGINT; ends the process."""
    allow_many_files()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Server(config, listener, factory).run()
