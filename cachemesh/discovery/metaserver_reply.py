"""What a metaserver has replied, and why it has not: for `cachemesh.discovery.metaserver`."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from typing import Any

from cachemesh.core.errors import MetaserverError
from cachemesh.core.json_text import NotJsonError, decode_json
from cachemesh.core.names import Address


def reason_of(error: Exception) -> str:
    """Return in a few words why an exchange failed."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "host name not known"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {getattr(error, 'verify_message', None) or error.reason or 'failed'}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def decode_reply(status: int, raw: bytes, address: Address) -> Any:
    """Return the decoded JSON of a reply; None for status 204.

    Raises:
        MetaserverError: the metaserver refused the request, or the reply is not JSON.
    """
    if not raw:
        body: object = {}
    else:
        try:
            body = decode_json(raw)
        except NotJsonError:
            body = None
    if not 200 <= status < 300:
        raise MetaserverError(status, body if isinstance(body, dict) else _foreign(status, address))
    if status == 204:
        return None
    if body is None:
        raise MetaserverError(status, _foreign(status, address))
    return body


def parse_events(response: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    """Yield the events of an event stream; a blank line ends each.

    Raises:
        NotJsonError: the data of an event is not JSON.

    Source: WHATWG HTML, "Server-sent events".
    """
    name, data = "message", list[str]()
    for raw in response:
        line = raw.decode("utf-8").rstrip("\r\n")
        if not line:
            if data:
                yield name, decode_json("\n".join(data))
            name, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)


def _foreign(status: int, address: Address) -> dict[str, object]:
    """Return a problem document for a reply that no metaserver gives."""
    return {
        "code": "not-json",
        "detail": f"{address} answered HTTP status {status} with something that is not JSON",
        "next": "check that the address is that of a metaserver",
    }
