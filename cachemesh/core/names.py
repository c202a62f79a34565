"""Checks names of pools and shards, and parses addresses."""

from __future__ import annotations

import re
from typing import NamedTuple

from cachemesh.core.errors import InvalidDocumentError, shown

NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""A pool's or shard's name; also valid for Sentinel, a ZooKeeper node and a URL path."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?|[0-9A-Fa-f:.]{2,45}")

_PORT = re.compile(r"[0-9]{1,5}")


def check_name(kind: str, name: object) -> str:
    """Return a name unchanged, once it is checked.

    Args:
        kind: "pool" or "shard", for the message.
        name: 1 to 64 characters of A-Z a-z 0-9 . _ - that begin with a letter or digit.

    Raises:
        InvalidDocumentError: the name is not valid.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise InvalidDocumentError(
        f"{kind.capitalize()} name {shown(name, 80)} is not valid: use 1 to 64 characters of "
        "A-Z a-z 0-9 . _ - with a letter or digit first"
    )


MAX_NEW_POOL_NAME = 59
"""Characters of a new pool's name; leaves room for shards called NAME-0 to NAME-1023."""


def check_new_pool_name(name: object) -> str:
    """Return the name of a pool to be created unchanged, once it is checked.

    Args:
        name: as for `check_name`, and at most 59 characters long.

    Raises:
        InvalidDocumentError: the name is not valid, or leaves no room for the names of shards.
    """
    checked = check_name("pool", name)
    if len(checked) > MAX_NEW_POOL_NAME:
        raise InvalidDocumentError(
            f"Pool name {checked!r} has {len(checked)} characters, which leaves no room for the "
            f"names of its shards (NAME-0, NAME-1, ...); use {MAX_NEW_POOL_NAME} at most"
        )
    return checked


class Address(NamedTuple):
    """Where a server listens. ``str()`` gives ``host:port``, or ``[host]:port`` for IPv6."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: object, default_port: int | None = None) -> Address:
    """Return the address that a text gives.

    Args:
        text: ``host:port`` or ``[ipv6]:port``.
        default_port: allows a text without a port.

    Raises:
        InvalidDocumentError: the text has another form, or the port is outside 1 to 65535.
    """
    host, port = "", ""
    if isinstance(text, str):
        host, _, port = text.rpartition(":")
        if not host and default_port is not None:
            host, port = text, str(default_port)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            host = ""
    if _HOST.fullmatch(host) and _PORT.fullmatch(port) and 1 <= int(port) <= 65_535:
        return Address(host, int(port))
    raise InvalidDocumentError(
        f"Address {shown(text, 80)} is not valid: write host:port, port 1 to 65535"
    )
