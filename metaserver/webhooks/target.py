"""A URL that events are posted to, and what of it may be told."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import SplitResult, urlsplit

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.names import Address, parse_address

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class WebhookTarget:
    """Where events are posted to.

    Attributes:
        name: scheme, host and port, for logs and metrics; with a number where several URLs share
            them.
        key: tells the URL from others in the store, which does not get the URL itself.
        address: of the server.
        host: the value of the header `Host`.
        path: with the query; it may be a secret.
        tls: whether the URL begins with https.
    """

    name: str
    key: str
    address: Address
    host: str
    path: str = field(repr=False)
    tls: bool = False


def targets_of(urls: Sequence[str]) -> tuple[WebhookTarget, ...]:
    """Return the targets of URLs, each with a name of its own.

    Raises:
        ValueError: a URL is not valid, or given twice. The message has no part of it but the host.
    """
    found = [_target_of(number, url) for number, url in enumerate(urls, 1)]
    keys = Counter(each.key for each in found)
    for number, each in enumerate(found, 1):
        if keys[each.key] > 1:
            raise ValueError(f"URL {number}, at {each.host}, is given twice")
    named: Counter[str] = Counter()
    targets = []
    for each in found:
        named[each.name] += 1
        more = f"#{named[each.name]}" if named[each.name] > 1 else ""
        targets.append(replace(each, name=each.name + more))
    return tuple(targets)


def _target_of(number: int, url: str) -> WebhookTarget:
    if not url.isascii() or any(character <= " " or character == "\x7f" for character in url):
        raise ValueError(f"URL {number} has characters that have to be percent-encoded")
    try:
        parts = urlsplit(url)
        address = _address_of(parts)
    except (ValueError, InvalidDocumentError) as error:
        raise ValueError(f"URL {number} is none: write https://HOST[:PORT]/PATH") from error
    if "@" in parts.netloc:
        raise ValueError(
            f"URL {number}, at {address}, has a user name or password: leave it out, and have the "
            "receiver check the signature"
        )
    path = parts.path or "/"
    return WebhookTarget(
        name=f"{parts.scheme}://{address}",
        key=hashlib.sha256(url.encode()).hexdigest(),
        address=address,
        host=parts.netloc,
        path=f"{path}?{parts.query}" if parts.query else path,
        tls=parts.scheme == "https",
    )


def _address_of(parts: SplitResult) -> Address:
    """Return host and port. Raises ValueError, InvalidDocumentError: there is none."""
    if parts.scheme not in _PORTS:
        raise ValueError("another scheme")
    port = _PORTS[parts.scheme] if parts.port is None else parts.port
    return parse_address(str(Address(parts.hostname or "", port)))
