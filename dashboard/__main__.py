"""`python -m dashboard`: the dashboard under gunicorn with one gevent worker."""

# ruff: noqa: E402  gevent has to patch before anything else is imported
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import socket
import sys
from collections.abc import Sequence
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

from cachemesh.core.errors import CacheMeshError
from cachemesh.core.names import Address, parse_address
from cachemesh.discovery.metaserver import MetaserverClient
from dashboard.app import create_app
from dashboard.config import DashboardConfig

BACKLOG = 512


class DashboardServer(BaseApplication):  # type: ignore[misc]
    """One worker: sessions and feeds live in its memory; gevent carries the many streams."""

    def __init__(self, config: DashboardConfig, listener: socket.socket) -> None:
        self._config = config
        self._listener = listener
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": f"fd://{self._listener.fileno()}",
            "worker_class": "gevent",
            "workers": 1,
            "worker_connections": 2000,
            "graceful_timeout": 1,
            "proc_name": "cachemesh-dashboard",
            "loglevel": "warning",
            "control_socket_disable": True,
        }
        for name, value in options.items():
            if name in self.cfg.settings:  # control sockets are new in gunicorn 25
                self.cfg.set(name, value)

    def load(self) -> Flask:
        return create_app(self._config)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Returns 1 with one line on stderr if it cannot start."""
    options = _parser().parse_args(arguments)
    metaservers = tuple(part.strip() for part in options.metaserver.split(",") if part.strip())
    try:
        address = parse_address(options.listen)
        MetaserverClient(metaservers)  # tells of a bad address now, not at the first sign-in
        listener = listen(address)
    except CacheMeshError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"cannot listen on {options.listen}: {error.strerror}; choose another")
    config = DashboardConfig(
        metaservers,
        cookie_name=f"cachemesh_dashboard_{listener.getsockname()[1]}",
        idle_seconds=options.idle_minutes * 60,
    )
    sys.stderr.write(f"dashboard on http://{options.listen}\n")
    DashboardServer(config, listener).run()
    return 0


def listen(address: Address) -> socket.socket:
    """A listening socket. Raises OSError if the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.set_inheritable(True)
    return listener


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cachemesh-dashboard", description="The CacheMesh dashboard."
    )
    parser.add_argument("--listen", default="127.0.0.1:7701", metavar="HOST:PORT")
    parser.add_argument(
        "--metaserver",
        default="http://127.0.0.1:7700",
        metavar="URL[,URL...]",
        help="metaservers, tried in order",
    )
    parser.add_argument(
        "--idle-minutes",
        type=float,
        default=60.0,
        metavar="N",
        help="sign a browser out that made no request for so long (default 60)",
    )
    return parser


def _refuse(reason: str) -> int:
    sys.stderr.write(f"dashboard: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
