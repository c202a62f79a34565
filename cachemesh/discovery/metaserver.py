"""The HTTP client of metaservers, for the client SDK, the CLI and the dashboard.

It uses only the standard library, so that the SDK needs no HTTP library.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from cachemesh.core.errors import (
    ConfigurationError,
    MetaserverError,
    MetaserverUnavailableError,
)
from cachemesh.core.names import Address, parse_address
from cachemesh.discovery.bearer_token import BearerToken
from cachemesh.discovery.http_reply import bounded_socket
from cachemesh.discovery.kept_connection import STALE, KeptConnection
from cachemesh.discovery.metaserver_reply import decode_reply, parse_events, reason_of
from cachemesh.discovery.metaserver_request import MAX_REPLY_BYTES, Query, Request
from cachemesh.discovery.metaserver_tls import MetaserverTls
from cachemesh.discovery.wakeup import StopEvent
from cachemesh.transport.name_resolution import connected

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

DEFAULT_PORT = 7700
_FAILED = (OSError, http.client.HTTPException, ValueError, OverflowError)
"""What a failed exchange raises. `http.client` raises the last two for host names that are not
valid, and for chunks of negative length."""

_IN_DOUBT = ("call-in-progress", "storage-unsure")  # error codes: the change may have been made
_CUT_OFF = ("storage-failed", "not-leader")  # error codes: another one may reach the store, or lead
_ELSEWHERE = ("stopping", *_CUT_OFF, *_IN_DOUBT)  # error codes after which another one is asked
_TELLS_NOTHING = ("storage-failed", "storage-full", "too-many-requests")
"""Error codes that say nothing about an earlier sending of the change, which may have been made."""
_NOBODY = "is it running, and is the address right?"
_LOOK = "the change may or may not have been made; look before retry"
_ROUND = 0.1  # seconds between two rounds of all metaservers


class _NotConnectedError(Exception):
    """No connection was made; the text says why."""


class _AskAnotherError(Exception):
    """A metaserver cannot do what another one may; the text says which, and why.

    Attributes:
        in_doubt: it may have made the change that was asked for.
        refusal: what it said, if that tells more than that nobody answers.
    """

    def __init__(
        self,
        server: tuple[str, Address],
        why: object,
        *,
        in_doubt: bool,
        refusal: MetaserverError | None = None,
    ) -> None:
        super().__init__(f"{server[1]}: {why}")
        self.in_doubt = in_doubt
        self.refusal = refusal


class MetaserverClient:
    """Sends each request to the first of several metaservers that answers. Threads may share one.

    Args:
        addresses: ``host:port`` or ``http(s)://host:port`` of each metaserver.
        token: bearer token, never shown by ``repr``. One from a file is read again when it is
            refused, before a request fails.
        timeout: seconds to connect to one metaserver, and again to receive the whole reply.
        tls: for https; None: what the system trusts, and no certificate of its own.

    Raises:
        ConfigurationError: no address, or one that is not valid, or a TLS file.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        token: str | BearerToken | None = None,
        timeout: float = 5.0,
        tls: MetaserverTls | None = None,
    ) -> None:
        if not addresses:
            raise ConfigurationError("No metaserver address given; write host:port")
        self._set_up(addresses, token, timeout, tls)

    @classmethod
    def without_addresses(
        cls,
        token: str | BearerToken | None = None,
        timeout: float = 5.0,
        tls: MetaserverTls | None = None,
    ) -> Self:
        """Return a client that has to be told by `use` which metaservers there are."""
        client = cls.__new__(cls)
        client._set_up((), token, timeout, tls)
        return client

    def _set_up(
        self,
        addresses: Sequence[str],
        token: str | BearerToken | None,
        timeout: float,
        tls: MetaserverTls | None,
    ) -> None:
        self._tls = None if tls is None else tls.context()
        self._servers = [_parse_server(address) for address in addresses]
        self._token = BearerToken(token) if isinstance(token, str) else token
        self._timeout = timeout
        self._lock = threading.Lock()
        self._kept = KeptConnection()

    def __repr__(self) -> str:
        return f"MetaserverClient({', '.join(self.addresses)})"

    @property
    def addresses(self) -> tuple[str, ...]:
        """The metaservers as ``host:port``; the last one that answered comes first."""
        return tuple(str(address) for _, address in self._servers)

    def use(self, addresses: Sequence[str]) -> None:
        """Ask these metaservers from now on; the ones known already keep their order, and go first.

        Raises:
            ConfigurationError: an address is not valid, or one of a metaserver without TLS where
                files for TLS were given.
        """
        servers = [_parse_server(address) for address in addresses]
        for scheme, address in servers:
            if self._tls is not None and scheme != "https":
                raise ConfigurationError(
                    f"Metaserver {address} serves no TLS, and is not sent a token in clear text; "
                    "start it with --tls-cert-file, or leave the metaserver_... options out"
                )
        with self._lock:
            kept = [server for server in self._servers if server in servers]
            self._servers = [*kept, *(server for server in servers if server not in kept)]

    def request(
        self,
        method: str,
        path: str,
        body: object | None = None,
        query: Query | None = None,
        timeout: float | None = None,
        stop: StopEvent | None = None,
        max_bytes: int = MAX_REPLY_BYTES,
        key: str | None = None,
    ) -> Any:
        """Send one request and return the decoded JSON reply.

        If a connection cannot be made, an exchange fails, or the metaserver stops, does not reach
        its store or does not lead, the next one is tried. A change is sent with an idempotency
        key, so that it is made once however often it is sent. As long as it may have been made,
        all metaservers are tried again, until `timeout` has passed twice.

        Args:
            method, path, query: of the request; the path begins with ``/v1``.
            body: sent as JSON unless None.
            timeout: seconds for the whole reply, in place of the client's own.
            stop: interrupts the request when it is set.
            max_bytes: a larger reply counts as a failed exchange.
            key: of a change that is made once however often it is requested; None: one of its own.

        Returns:
            None for status 204, an empty object for any other empty reply.

        Raises:
            MetaserverError: the metaserver refused the request, or the reply is not JSON.
            MetaserverUnavailableError: no metaserver answered; names each with the reason.
        """
        seconds = self._timeout if timeout is None else timeout
        deadline = time.monotonic() + 2 * seconds
        sent = Request(method, path, body, query, seconds, max_bytes, stop, key).with_key()
        in_doubt, refusal = False, None
        while True:
            failures = []
            for server in list(self._servers):
                if sent.stopped:
                    break
                try:
                    return self._ask(server, sent, in_doubt)
                except _AskAnotherError as error:
                    failures.append(str(error))
                    in_doubt = in_doubt or error.in_doubt
                    refusal = error.refusal or refusal
            if sent.stopped or not in_doubt or time.monotonic() >= deadline:
                break
            time.sleep(_ROUND)
        if refusal is not None and not in_doubt:
            raise refusal
        in_doubt = in_doubt and not sent.stopped
        raise self._unavailable(failures, _LOOK if in_doubt else _NOBODY)

    def _ask(self, server: tuple[str, Address], sent: Request, sent_before: bool) -> Any:
        """Return the reply of one metaserver, which is asked first from now on.

        Args:
            server: the metaserver.
            sent: the request.
            sent_before: it was sent to one that may have made the change.

        Raises:
            _AskAnotherError: it does not answer, or stops, or its refusal leaves in doubt whether
                the change was made before.
            MetaserverError: it refused the request.
        """
        try:
            status, raw = self._exchange(server, sent)
            reply = decode_reply(status, raw, server[1])
        except _NotConnectedError as error:
            raise _AskAnotherError(server, error, in_doubt=False) from error
        except _FAILED as error:
            in_doubt = sent.key is not None
            raise _AskAnotherError(server, reason_of(error), in_doubt=in_doubt) from error
        except MetaserverError as error:
            unheard = sent_before and error.code in _TELLS_NOTHING
            if error.code not in _ELSEWHERE and not unheard:
                self._prefer(server)
                raise
            in_doubt, refusal = error.code in _IN_DOUBT, error if error.code in _CUT_OFF else None
            raise _AskAnotherError(
                server, error.detail, in_doubt=in_doubt, refusal=refusal
            ) from error
        self._prefer(server)
        return reply

    def _exchange(self, server: tuple[str, Address], sent: Request) -> tuple[int, bytes]:
        """Send a request to one metaserver, and return status and body of the reply.

        Raises:
            _NotConnectedError: nothing was sent.
            OSError, HTTPException, ValueError, OverflowError: the exchange failed.
        """
        token = self._token
        before = None if token is None else token.text
        status, raw = self._exchange_once(server, sent)
        if status == 401 and token is not None and before and token.replaced(before):
            status, raw = self._exchange_once(server, sent)
        return status, raw if 200 <= status < 300 else self._without_token(raw, before)

    def _without_token(self, raw: bytes, before: str | None) -> bytes:
        """Return a reply without the token, of a server that repeats the request.

        Args:
            before: the token before the request, which may have been replaced since.
        """
        for text in (before, None if self._token is None else self._token.text):
            if text:
                raw = raw.replace(text.encode(), b"***")
        return raw

    def _exchange_once(self, server: tuple[str, Address], sent: Request) -> tuple[int, bytes]:
        kept = self._kept.take(server) if sent.watches else None
        if kept is not None:
            try:
                return self._converse(kept, server, sent)
            except STALE:  # the metaserver has not kept the connection
                if sent.stopped:
                    raise
        connection = self._connection(server, sent.seconds)
        try:
            connection.connect()
        except _FAILED as error:
            connection.close()
            raise _NotConnectedError(reason_of(error)) from error
        return self._converse(connection, server, sent)

    def _converse(
        self, connection: http.client.HTTPConnection, server: tuple[str, Address], sent: Request
    ) -> tuple[int, bytes]:
        """As `_exchange`, on a connection, which is closed unless it is kept."""
        sock, keeps = connection.sock, False
        try:
            connection.sock = bounded_socket(sock, sent.max_bytes, time.monotonic() + sent.seconds)
            with nullcontext() if sent.stop is None else sent.stop.interrupts(sock):
                response = self._send(connection, sent)
                status, raw = response.status, response.read(sent.max_bytes)
            if sent.watches and response.isclosed() and not response.will_close:
                connection.sock = sock
                keeps = self._kept.keep(server, connection, sent.stop)
            return status, raw
        finally:
            if not keeps:
                connection.close()

    def forget_connection(self) -> None:
        """Close the connection that is kept for the next watch call, if any."""
        self._kept.close()

    def stream(self, path: str, query: Query | None = None) -> Iterator[tuple[str, Any]]:
        """Yield the server-sent events of one metaserver: name and decoded JSON data.

        The stream ends when the metaserver ends it, and fails after a silence of three times
        ``timeout``, at least 30 s. Comment lines keep it alive.

        Args:
            path, query: of the request.

        Raises:
            MetaserverError, MetaserverUnavailableError: as `request`; also if the stream breaks.
        """
        failures: list[str] = []
        refusal = None
        seconds = max(30.0, self._timeout * 3)
        sent, token = Request("GET", path, None, query, seconds), self._token
        before = None if token is None else token.text
        for server in list(self._servers):
            connection = self._connection(server, seconds)
            try:
                response = self._send(connection, sent)
                if response.status == 401 and token and before and token.replaced(before):
                    connection.close()
                    response = self._send(connection, sent)
                if response.status != 200:
                    raw = self._without_token(response.read(MAX_REPLY_BYTES), before)
                    decode_reply(response.status, raw, server[1])
                self._prefer(server)
                yield from parse_events(response)
                return
            except _FAILED as error:
                failures.append(f"{server[1]}: {reason_of(error)}")
            except MetaserverError as error:
                if error.code not in _ELSEWHERE:
                    raise
                failures.append(f"{server[1]}: {error.detail}")
                refusal = error if error.code in _CUT_OFF else refusal
            finally:
                connection.close()
        raise refusal or self._unavailable(failures, _NOBODY)

    def _connection(
        self, server: tuple[str, Address], seconds: float
    ) -> http.client.HTTPConnection:
        scheme, address = server
        connection: Any
        if scheme == "https":
            connection = http.client.HTTPSConnection(
                address.host, address.port, timeout=seconds, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(address.host, address.port, timeout=seconds)
        connection._create_connection = _reached  # `http.client` provides it for this
        return cast("http.client.HTTPConnection", connection)

    def _send(
        self, connection: http.client.HTTPConnection, sent: Request
    ) -> http.client.HTTPResponse:
        token = None if self._token is None else self._token.text
        payload = None if sent.body is None else json.dumps(sent.body).encode()
        connection.request(sent.method, sent.target, payload, sent.headers(token))
        return connection.getresponse()

    def _prefer(self, server: tuple[str, Address]) -> None:
        with self._lock:
            if server in self._servers and self._servers[0] is not server:
                self._servers = [server, *(s for s in self._servers if s is not server)]

    def ask_another(self) -> None:
        """Ask the metaserver that answered last after all others from now on."""
        with self._lock:
            self._servers = [*self._servers[1:], *self._servers[:1]]

    def _unavailable(self, failures: Sequence[str], hint: str) -> MetaserverUnavailableError:
        return MetaserverUnavailableError(
            f"No metaserver answers ({'; '.join(failures) or 'none is known'}); {hint}"
        )


def _reached(where: tuple[str, int], seconds: float, source: Any = None) -> socket.socket:
    """Connect as `socket.create_connection` does; ``seconds`` include the name look-up."""
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
