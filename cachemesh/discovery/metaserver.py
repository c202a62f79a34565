"""Speaking to metaservers over HTTP: one small client for the SDK, the CLI and the dashboard.

Only the standard library is used, so that the client SDK stays light.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlencode, urlsplit

from cachemesh.core.errors import (
    ConfigurationError,
    MetaserverError,
    MetaserverUnavailableError,
)
from cachemesh.core.json_text import NotJsonError, decode_json
from cachemesh.core.names import Address, parse_address
from cachemesh.discovery.http_reply import bounded_socket
from cachemesh.discovery.wakeup import StopEvent
from cachemesh.transport.name_resolution import connected

DEFAULT_PORT = 7700
_MAX_REPLY_BYTES = 64 * 1024 * 1024
_FAILED = (OSError, http.client.HTTPException, ValueError, OverflowError)
"""What an exchange raises that failed; the last two are for host names that are none, and for
chunks whose length is below zero."""

Query = Mapping[str, "str | int | bool"]


def read_token(
    token: str | None, token_file: str | None, environ: Mapping[str, str] | None = None
) -> str | None:
    """The bearer token: given, from a file, or from CACHEMESH_TOKEN / CACHEMESH_TOKEN_FILE.

    Raises:
        ConfigurationError: the file cannot be read or is empty; the message names the file.
    """
    environ = environ or {}
    if token is None and token_file is None:
        token, token_file = environ.get("CACHEMESH_TOKEN"), environ.get("CACHEMESH_TOKEN_FILE")
    if token:
        return _checked_token(token.strip(), "The token")
    if not token_file:
        return None
    try:
        text = Path(token_file).expanduser().read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not plain ASCII"
        raise ConfigurationError(f"Token file {token_file}: {reason}") from error
    return _checked_token(text, f"The token in {token_file}")


def _checked_token(token: str, what: str) -> str:
    # Never echo the token itself.
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(f"{what} is empty or not one word of printable ASCII")
    return token


class MetaserverClient:
    """Requests to whichever of several metaservers answers. Threads may share one.

    Args:
        addresses: ``host:port`` or ``http(s)://host:port`` of each metaserver.
        token: bearer token, never shown by ``repr``.
        timeout: seconds for one metaserver to be connected to, and then to answer in full.

    Raises:
        ConfigurationError: no address, or one that is not valid.
    """

    def __init__(
        self, addresses: Sequence[str], token: str | None = None, timeout: float = 5.0
    ) -> None:
        if not addresses:
            raise ConfigurationError("No metaserver address given; write host:port")
        self._servers = [_parse_server(address) for address in addresses]
        self._token = token
        self._timeout = timeout
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"MetaserverClient({', '.join(self.addresses)})"

    @property
    def addresses(self) -> tuple[str, ...]:
        """Metaservers as ``host:port``, the last one that answered first."""
        return tuple(str(address) for _, address in self._servers)

    def request(
        self,
        method: str,
        path: str,
        body: object | None = None,
        query: Query | None = None,
        timeout: float | None = None,
        stop: StopEvent | None = None,
        max_bytes: int = _MAX_REPLY_BYTES,
    ) -> Any:
        """One request; the decoded JSON reply, or None where the reply is empty.

        A metaserver that cannot be connected to is passed over for the next. One that took the
        request and then failed is passed over only for a GET or a watch, which may run twice.
        Setting ``stop`` breaks it off. A reply of more than ``max_bytes`` is a failure.

        Raises:
            MetaserverError: the metaserver refused.
            MetaserverUnavailableError: none answered; every address is named with its reason.
        """
        retriable = method == "GET" or path.endswith("/watch")
        failures = []
        for server in list(self._servers):
            if stop is not None and stop.is_set():
                break
            connection = self._connection(server, timeout)
            try:
                try:
                    connection.connect()
                except _FAILED as error:
                    failures.append(f"{server[1]}: {_reason(error)}")
                    continue
                sock = connection.sock
                seconds = self._timeout if timeout is None else timeout
                connection.sock = bounded_socket(sock, max_bytes, time.monotonic() + seconds)
                try:
                    with nullcontext() if stop is None else stop.interrupts(sock):
                        response = self._send(connection, method, path, body, query)
                        raw = response.read(max_bytes)
                except _FAILED as error:
                    failures.append(f"{server[1]}: {_reason(error)}")
                    if not retriable:
                        raise self._unavailable(
                            failures, "the change may or may not have been made; look before retry"
                        ) from error
                    continue
            finally:
                connection.close()
            self._prefer(server)
            return _decode(response.status, raw, server[1])
        raise self._unavailable(failures, "is it running, and is the address right?")

    def stream(self, path: str, query: Query | None = None) -> Iterator[tuple[str, Any]]:
        """Server-sent events of one metaserver: (event name, decoded JSON data), until it ends.

        Comment lines keep the connection alive; silence for three times ``timeout`` (at least
        30 s) ends it.

        Raises:
            MetaserverError, MetaserverUnavailableError: as `request`; also when it breaks off.
        """
        failures = []
        for server in list(self._servers):
            connection = self._connection(server, max(30.0, self._timeout * 3))
            try:
                response = self._send(connection, "GET", path, None, query)
                if response.status != 200:
                    _decode(response.status, response.read(_MAX_REPLY_BYTES), server[1])
                self._prefer(server)
                yield from _parse_events(response)
                return
            except _FAILED as error:
                failures.append(f"{server[1]}: {_reason(error)}")
            finally:
                connection.close()
        raise self._unavailable(failures, "is it running, and is the address right?")

    def _connection(
        self, server: tuple[str, Address], timeout: float | None
    ) -> http.client.HTTPConnection:
        scheme, address = server
        kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
        seconds = self._timeout if timeout is None else timeout
        connection: Any = kind(address.host, address.port, timeout=seconds)
        connection._create_connection = _reached  # made to be replaced, as its source says
        return cast("http.client.HTTPConnection", connection)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: object | None,
        query: Query | None,
    ) -> http.client.HTTPResponse:
        headers = {"Accept": "application/json, text/event-stream"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        if query:
            shown = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in query.items()}
            path = f"{path}?{urlencode(shown, quote_via=quote)}"
        payload = None
        if body is not None:
            payload = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        connection.request(method, path, payload, headers)
        return connection.getresponse()

    def _prefer(self, server: tuple[str, Address]) -> None:
        with self._lock:
            if self._servers[0] is not server:
                self._servers = [server, *(s for s in self._servers if s is not server)]

    def _unavailable(self, failures: Sequence[str], hint: str) -> MetaserverUnavailableError:
        return MetaserverUnavailableError(f"No metaserver answers ({'; '.join(failures)}); {hint}")


def _reached(where: tuple[str, int], seconds: float, source: Any = None) -> socket.socket:
    """As `socket.create_connection`, within the time with the look-up of the name."""
    host, port = where
    return connected(
        host, seconds, lambda address, left: socket.create_connection((address, port), left, source)
    )


def _parse_server(text: str) -> tuple[str, Address]:
    scheme, netloc = "http", text
    if "://" in text:
        parts = urlsplit(text)
        scheme, netloc = parts.scheme, parts.netloc
        if scheme not in ("http", "https") or parts.path.strip("/") or "@" in netloc:
            raise ConfigurationError(
                "A metaserver address is host:port, http://host:port or https://host:port"
            )
    try:
        return scheme, parse_address(netloc, DEFAULT_PORT)
    except ValueError as error:
        raise ConfigurationError(f"Metaserver: {error}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "host name not known"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _decode(status: int, raw: bytes, address: Address) -> Any:
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


def _parse_events(response: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    """Server-sent events (WHATWG HTML, "Server-sent events"): blank line dispatches."""
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
    """A problem for an answer that no metaserver gives."""
    return {
        "code": "not-json",
        "detail": f"{address} answered HTTP status {status} with something that is not JSON",
        "next": "check that the address is that of a metaserver",
    }
