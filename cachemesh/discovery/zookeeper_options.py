"""The options of a URL that are about ZooKeeper."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cachemesh.core.errors import ConfigurationError
from cachemesh.discovery import zookeeper_layout as layout
from cachemesh.discovery.url_options import boolean
from cachemesh.discovery.zookeeper_login import SCHEMES, check_packages, no_password
from cachemesh.discovery.zookeeper_reader import ZookeeperAccess

_TLS = {
    "ssl_ca_certs": "ca",
    "ssl_certfile": "certfile",
    "ssl_keyfile": "keyfile",
    "ssl_password": "keyfile_password",
}
"""redis-py's options -> kazoo's."""


def zookeeper_access(
    hosts: str, chroot: str, own: Mapping[str, Any], redis_options: Mapping[str, Any]
) -> ZookeeperAccess:
    """Return where a deployment is in ZooKeeper, and how to log in there.

    Args:
        hosts: ``host:port,...``.
        chroot: as in the URL, without the slashes around it; empty for that of metaservers.
        own: the options ``zookeeper_auth``, ``zookeeper_auth_file``, ``zookeeper_auth_scheme`` and
            ``zookeeper_ssl``.
        redis_options: whose ``ssl_`` options count for ZooKeeper too.

    Raises:
        ConfigurationError: an option is not valid, or kazoo is not installed. The message never
            holds the password.
    """
    sasl = _scheme(own) == "sasl"
    check_packages(sasl=sasl)
    path = f"/{unquote(chroot)}" if chroot else layout.CHROOT
    if not layout.CHROOT_PATTERN.fullmatch(path):
        raise ConfigurationError(
            "The URL's path is not that of a znode and a pool, such as /cachemesh/POOL"
        )
    tls: dict[str, Any] = {}
    if boolean("zookeeper_ssl", own.get("zookeeper_ssl", False)):
        tls = {theirs: redis_options.get(ours) for ours, theirs in _TLS.items()}
        # Without a password OpenSSL would ask for one at the terminal.
        tls["keyfile_password"] = tls["keyfile_password"] or no_password
        trusts_any = redis_options.get("ssl_cert_reqs") == "none"
        named = redis_options.get("ssl_check_hostname", True)
        tls |= {
            "use_ssl": True,
            "verify_certs": not trusts_any,
            "check_hostname": named and not trusts_any,
        }
    return ZookeeperAccess(hosts, path, _auth(own), sasl, tuple(sorted(tls.items())))


def _scheme(own: Mapping[str, Any]) -> str:
    scheme = own.get("zookeeper_auth_scheme", SCHEMES[0])
    if scheme not in SCHEMES:
        raise ConfigurationError(f"Option zookeeper_auth_scheme takes {' or '.join(SCHEMES)}")
    return str(scheme)


def _auth(own: Mapping[str, Any]) -> str | None:
    text, file = own.get("zookeeper_auth"), own.get("zookeeper_auth_file")
    where = "Option zookeeper_auth"
    if text is None and file is not None:
        where = f"Option zookeeper_auth_file: {file}"
        try:
            text = Path(file).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ConfigurationError(f"{where}: {reason}") from error
    if text is not None and not re.fullmatch(r"[^:\s]+:\S+", str(text)):
        raise ConfigurationError(f"{where} is not of the form user:password")
    return None if text is None else str(text)
