"""The command line of the dashboard, which is served under gunicorn with one gevent worker."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from flask import Flask

from cachemesh.core.errors import CacheMeshError
from cachemesh.core.names import parse_address
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.discovery.metaserver_tls import MetaserverTls
from cachemesh.serving import Server, Site, TlsFileError, TlsFiles, bind
from dashboard.app import create_app, unparsed
from dashboard.config import DashboardConfig
from dashboard.url_prefix import checked_prefix

CONNECTIONS = 2000  # at once, in one worker, which keeps all sessions and feeds in its memory


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        arguments: of the command line; None: those of the process.

    Returns:
        The exit code: 1, with one line on stderr, if the dashboard cannot start.
    """
    options = command_line_parser().parse_args(arguments)
    metaservers = tuple(part.strip() for part in options.metaserver.split(",") if part.strip())
    try:
        address = parse_address(options.listen)
        prefix = checked_prefix(options.url_prefix)
        files = (options.metaserver_ca_file, *options.metaserver_cert_files)
        tls = MetaserverTls(*files) if any(files) else None
        served = _served_tls(options.tls_cert_file, options.tls_key_file)
        # Raises for a bad address or file now, not at the first sign-in.
        MetaserverClient(metaservers, tls=tls)
        listener = bind(address.host, address.port)
    except (CacheMeshError, TlsFileError) as error:
        return _refuse(str(error))
    except ValueError as error:
        return _refuse(f"--url-prefix: {error}")
    except OSError as error:
        return _refuse(f"cannot listen on {options.listen}: {error.strerror}; choose another")
    config = DashboardConfig(
        metaservers,
        tls=tls,
        cookie_name=f"cachemesh_dashboard_{listener.getsockname()[1]}",
        url_prefix=prefix,
        forwarded_prefix=options.forwarded_prefix,
        idle_seconds=options.idle_minutes * 60,
    )
    scheme = "http" if served is None else "https"
    sys.stderr.write(f"dashboard on {scheme}://{options.listen}\n")

    def make_app() -> tuple[Flask, Callable[[], None], None]:
        return create_app(config), lambda: None, None  # streams end with the process

    name = "cachemesh-dashboard"
    site = Site(name, make_app, unparsed, CONNECTIONS, last_words=1.0, tls=served)
    Server(site, listener).serve()
    return 0


def _served_tls(certificate: str | None, key: str | None) -> TlsFiles | None:
    """Return the dashboard's own certificate; None: it serves plain HTTP.

    Raises:
        TlsFileError: one of the files is missing, or cannot be used.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise TlsFileError("TLS takes both --tls-cert-file and --tls-key-file")
    files = TlsFiles(Path(certificate).absolute(), Path(key).absolute())
    files.context()
    return files


def command_line_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
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
        "--tls-cert-file",
        metavar="FILE",
        help="serve over TLS, with the certificate in this PEM file",
    )
    parser.add_argument(
        "--tls-key-file", metavar="FILE", help="PEM file with the certificate's key"
    )
    parser.add_argument(
        "--url-prefix",
        default="",
        metavar="PATH",
        help="the path below which browsers reach it through a reverse proxy, such as /cachemesh",
    )
    parser.add_argument(
        "--forwarded-prefix",
        action="store_true",
        help="take that path from X-Forwarded-Prefix, which the proxy has to set or remove",
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
