"""The options of the metaserver's command line for a store in ZooKeeper."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from cachemesh.core.errors import ConfigurationError, InvalidDocumentError
from cachemesh.core.names import parse_address
from cachemesh.discovery import zookeeper_layout as layout
from cachemesh.discovery.zookeeper_login import check_packages, no_password
from metaserver.process.config import ZookeeperOptions

Command = TypeVar("Command", bound=Callable[..., Any])

PORT = 2181


def zookeeper_options(command: Command) -> Command:
    """Add --zookeeper and its companions; the command takes them together as ``zookeeper``."""

    @functools.wraps(command)
    def called(
        *args: Any,
        zookeeper: tuple[str, str] | None,
        zookeeper_auth_file: Path | None,
        zookeeper_auth_scheme: str,
        zookeeper_tls_ca_file: Path | None,
        zookeeper_tls_cert_file: Path | None,
        zookeeper_tls_key_file: Path | None,
        zookeeper_tls_key_password_file: Path | None,
        **options: Any,
    ) -> Any:
        found = None
        if zookeeper is not None:
            tls = {
                "ca": _text(zookeeper_tls_ca_file),
                "certfile": _text(zookeeper_tls_cert_file),
                "keyfile": _text(zookeeper_tls_key_file),
                "keyfile_password": _secret(zookeeper_tls_key_password_file),
            }
            found = ZookeeperOptions(
                *zookeeper,
                login=None if zookeeper_auth_file is None else _login(zookeeper_auth_file),
                sasl=zookeeper_auth_scheme == "sasl",
                tls=_checked(tls) if any(tls.values()) else None,
            )
        return command(*args, zookeeper=found, **options)

    for option in _OPTIONS:
        called = option(called)
    return cast("Command", called)


def _ensemble(_context: object, _option: object, text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    hosts, slash, rest = text.partition("/")
    chroot = f"/{rest}" if slash and rest else layout.CHROOT
    if not layout.CHROOT_PATTERN.fullmatch(chroot):
        raise click.BadParameter(f"{chroot!r:.80} is no path of a znode, such as /cachemesh")
    try:
        addresses = [str(parse_address(host, PORT)) for host in hosts.split(",")]
    except InvalidDocumentError as error:
        raise click.BadParameter(str(error)) from error
    return ",".join(addresses), chroot


def _known_scheme(_context: object, _option: object, scheme: str) -> str:
    try:
        check_packages(sasl=scheme == "sasl")
    except ConfigurationError as error:
        raise click.BadParameter(str(error)) from error
    return scheme


def _read(option: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise click.BadParameter(f"{option} {path}: {reason}") from error


def _secret(path: Path | None) -> str | None:
    return None if path is None else _read("--zookeeper-tls-key-password-file", path)


def _login(path: Path) -> str:
    text = _read("--zookeeper-auth-file", path)
    if not re.fullmatch(r"[^:\s]+:\S+", text):
        raise click.BadParameter(
            f"--zookeeper-auth-file {path}: it is not of the form user:password"
        )
    return text


def _checked(tls: Mapping[str, Any]) -> dict[str, Any]:
    # Without a password OpenSSL would ask for one at the terminal.
    password = tls["keyfile_password"] or no_password
    return {"check_hostname": True, **tls, "keyfile_password": password}


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)

# Click shows them in the reverse of this order.
_OPTIONS = (
    click.option(
        "--zookeeper-tls-key-password-file", type=_FILE, help="File with that key's password."
    ),
    click.option("--zookeeper-tls-key-file", type=_FILE, help="Key of that certificate."),
    click.option("--zookeeper-tls-cert-file", type=_FILE, help="Certificate to show to ZooKeeper."),
    click.option(
        "--zookeeper-tls-ca-file",
        type=_FILE,
        help="Speak TLS, and trust servers with a certificate of this authority.",
    ),
    click.option(
        "--zookeeper-auth-scheme",
        type=click.Choice(["digest", "sasl"]),
        default="digest",
        show_default=True,
        callback=_known_scheme,
        help="How to log in: as any digest user, or by SASL as a user that the servers know.",
    ),
    click.option(
        "--zookeeper-auth-file",
        type=_FILE,
        help="File with user:password of a login; what is made is for that user alone.",
    ),
    click.option(
        "--zookeeper",
        metavar="HOST:PORT,.../CHROOT",
        callback=_ensemble,
        help="Keep everything in ZooKeeper, in place of --db; metaservers of any machines may "
        "share it.",
    ),
)
