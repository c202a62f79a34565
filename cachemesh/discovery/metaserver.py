"""The HTTP client of the metaserver, for the SDK, the CLI and the dashboard.

Uses the standard library alone, so that the SDK needs no HTTP package.
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
"""What a failed exchange raises. ValueError: a host name is not valid.

OverflowError: a chunk has a negative length.
"""

Query = Mapping[str, "str | int | bool"]


def read_token(
    token: str | None, token_file: str | None, environ: Mapping[str, str] | None = None
) -> str | None:
    """Return the metaserver's bearer token, or None if none is given.

    Args:
        token: the token itself; wins over a file.
        token_file: path of a file that holds the token.
        environ: where CACHEMESH_TOKEN and CACHEMESH_TOKEN_FILE are looked up if neither is given.

    Raises:
        ConfigurationError: the file cannot be read, or the token is empty or malformed. The message
            names the file, never the token.
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
    """Sends requests to the first of several metaservers that answers. Thread-safe.

    Args:
        addresses: ``host:port`` or ``http(s)://host:port`` of each metaserver.
        token: bearer token, never shown by ``repr``.
        timeout: seconds to connect to one metaserver, and again seconds until its whole reply is
            read.

    Raises:
        ConfigurationError: there is no address, or one is not valid.
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
        """The metaservers as ``host:port``; the last one that answered comes first."""
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
        """Send one request and return the decoded JSON reply.

        A metaserver that refuses the connection is skipped for the next. A metaserver that fails
        after the request was sent is skipped only if the request may run twice: a GET or a watch.

        Args:
            method: HTTP method.
            path: path below the address, such as ``/v1/pools``.
            body: JSON-ready value, or None to send no body.
            query: parameters of the query string.
            timeout: seconds, in place of the client's.
            stop: interrupts the request when set.
            max_bytes: longest reply that is read; a longer one counts as a failure.

        Returns:
            The decoded reply, or None for status 204.

        Raises:
            MetaserverError: the metaserver refused the request.
            MetaserverUnavailableError: none answered; the message names each address with its
                reason.
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
        """Yield the server-sent events of one metaserver until the stream ends.

        Comment lines keep the connection alive. Silence for three times ``timeout``, at least 30 s,
        ends it.

        Args:
            path: path below the address.
            query: parameters of the query string.

        Yields:
            Event name, and decoded JSON data.

        Raises:
            MetaserverError: the metaserver refused the request.
            MetaserverUnavailableError: none answered, or the connection broke.
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
        connection._create_connection = _reached  # http.client has it replaceable
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
    """Connect as `socket.create_connection` does, with the name look-up inside the timeout."""
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
    """Yield name and data of each server-sent event.

    Source: WHATWG HTML, "Server-sent events". A blank line ends an event.
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
