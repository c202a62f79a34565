"""Serves the dashboard for `python -m dashboard`, under gunicorn with one gevent worker."""

# ruff: noqa: E402  gevent has to patch before anything else is imported
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import sys
from collections.abc import Callable, Sequence

from flask import Flask

from cachemesh.core.errors import CacheMeshError
from cachemesh.core.names import parse_address
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.discovery.metaserver_tls import MetaserverTls
from cachemesh.serving import Server, Site, bind
from dashboard.app import create_app, unparsed
from dashboard.config import DashboardConfig

CONNECTIONS = 2000  # at once, in one worker, which keeps all sessions and feeds in its memory


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        arguments: of the command line; None: those of the process.

    Returns:
        The exit code: 1, with one line on stderr, if the dashboard cannot start.
    """
    options = _parser().parse_args(arguments)
    metaservers = tuple(part.strip() for part in options.metaserver.split(",") if part.strip())
    try:
        address = parse_address(options.listen)
        files = (options.metaserver_ca_file, *options.metaserver_cert_files)
        tls = MetaserverTls(*files) if any(files) else None
        # Raises for a bad address or file now, not at the first sign-in.
        MetaserverClient(metaservers, tls=tls)
        listener = bind(address.host, address.port)
    except CacheMeshError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"cannot listen on {options.listen}: {error.strerror}; choose another")
    config = DashboardConfig(
        metaservers,
        tls=tls,
        cookie_name=f"cachemesh_dashboard_{listener.getsockname()[1]}",
        idle_seconds=options.idle_minutes * 60,
    )
    sys.stderr.write(f"dashboard on http://{options.listen}\n")

    def make_app() -> tuple[Flask, Callable[[], None], None]:
        return create_app(config), lambda: None, None  # streams end with the process

    site = Site("cachemesh-dashboard", make_app, unparsed, CONNECTIONS, last_words=1.0)
    Server(site, listener).serve()
    return 0


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
        "--metaserver-ca-file",
        metavar="FILE",
        help="PEM file with the CAs to trust for https:// (default: those of the system)",
    )
    parser.add_argument(
        "--metaserver-cert-files",
        nargs=2,
        default=(None, None),
        metavar=("CERT", "KEY"),
        help="PEM files with a certificate to show to metaservers, and its key",
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
