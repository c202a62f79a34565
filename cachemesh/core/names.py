"""Names and addresses, checked in one place."""

from __future__ import annotations

import re
from typing import NamedTuple

from cachemesh.core.errors import InvalidDocumentError

NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""What a pool or shard may be called: also valid for Sentinel, a ZooKeeper node and a URL path."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?|[0-9A-Fa-f:.]{2,45}")

_PORT = re.compile(r"[0-9]{1,5}")


def check_name(kind: str, name: object) -> str:
    """A valid name of a ``kind`` ("pool" or "shard"), unchanged.

    Raises:
        InvalidDocumentError: not 1 to 64 characters of A-Z a-z 0-9 . _ - with a letter or digit
            first.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    shown = repr(name) if len(repr(name)) <= 80 else repr(name)[:77] + "..."
    raise InvalidDocumentError(
        f"{kind.capitalize()} name {shown} is not valid: use 1 to 64 characters of "
        "A-Z a-z 0-9 . _ - with a letter or digit first"
    )


MAX_NEW_POOL_NAME = 59
"""Characters of a new pool's name, so that shards can be called NAME-0 to NAME-1023."""


def check_new_pool_name(name: object) -> str:
    """A valid name of a pool that is to be made, unchanged.

    Raises:
        InvalidDocumentError: it is no name, or leaves no room for the names of shards.
    """
    checked = check_name("pool", name)
    if len(checked) > MAX_NEW_POOL_NAME:
        raise InvalidDocumentError(
            f"Pool name {checked!r} has {len(checked)} characters, which leaves no room for the "
            f"names of its shards (NAME-0, NAME-1, ...); use {MAX_NEW_POOL_NAME} at most"
        )
    return checked


class Address(NamedTuple):
    """Where an instance listens. ``str()`` gives ``host:port``, ``[host]:port`` for IPv6."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: object, default_port: int | None = None) -> Address:
    """An address from ``host:port`` or ``[ipv6]:port``.

    Raises:
        InvalidDocumentError: not of that form, or a port outside 1 to 65535.
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
    shown = repr(text) if len(repr(text)) <= 80 else repr(text)[:77] + "..."
    raise InvalidDocumentError(f"Address {shown} is not valid: write host:port, port 1 to 65535")
