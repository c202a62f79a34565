"""One POST to a URL: within a bounded time, with no redirect followed, and of the reply its status.

A connection is for one POST: events are rare, and a kept one would be closed between two of them.
Source: https://www.rfc-editor.org/rfc/rfc9112
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping
from typing import TypeAlias

from cachemesh.core.errors import CacheMeshError
from metaserver.process.config import RedisTls
from metaserver.redis_io.allowed_networks import AllowedNetworks, InstanceRejected
from metaserver.redis_io.tls import TlsSocket, context_of
from metaserver.webhooks.target import WebhookTarget

TIMEOUT = 10.0  # seconds for all of it
_ANYWHERE = ("0.0.0.0/0", "::/0")  # an operator names the URL when the process is started
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})[ \r\n]")
_SHORTEST = len(b"HTTP/1.1 200\r")
_MOST = 16 * 1024  # bytes of a reply that are read for its status
_PIECE = 4096

_Connection: TypeAlias = "socket.socket | TlsSocket"


class NotTakenError(CacheMeshError):
    """An event was not taken, or nobody knows whether it was. The text has the reason."""


class Endpoint:
    """A server that events are posted to.

    Args:
        ca_file: PEM file with the CAs to trust; None: those that the system trusts.
        timeout: seconds for connecting, TLS, sending, and the status of the reply.
    """

    def __init__(
        self, target: WebhookTarget, ca_file: str | None = None, *, timeout: float = TIMEOUT
    ) -> None:
        self._target = target
        self._tls = RedisTls(ca_certs=ca_file) if target.tls else None
        self._timeout = timeout
        self._networks = AllowedNetworks(_ANYWHERE)

    def post(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Post a body.

        Raises:
            NotTakenError: the status is not 2xx, or there was none in time.
        """
        try:
            status = self._exchange(self._request(body, headers))
        except InstanceRejected as error:  # its name leads nowhere
            raise NotTakenError(error.detail) from error
        except TimeoutError as error:
            raise NotTakenError(f"no answer within {self._timeout:g} s") from error
        except OSError as error:
            raise NotTakenError(error.strerror or str(error)) from error
        if 300 <= status < 400:
            raise NotTakenError(f"HTTP {status}: redirects are not followed")
        if not 200 <= status < 300:
            raise NotTakenError(f"HTTP {status}")

    def _request(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        lines = [f"POST {self._target.path} HTTP/1.1", f"Host: {self._target.host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}", "Connection: close"]
        return "\r\n".join([*lines, "", ""]).encode("ascii") + body

    def _exchange(self, request: bytes) -> int:
        end = time.monotonic() + self._timeout
        address = self._target.address
        sock = self._networks.connect(str(address), timeout=self._timeout)
        try:
            connection: _Connection = sock
            if self._tls is not None:
                context = context_of(self._tls)
                connection = TlsSocket(sock, context, address.host, _left(end))
            connection.settimeout(_left(end))
            connection.sendall(request)
            return _status_from(connection, end)
        finally:
            sock.close()


def _status_from(connection: _Connection, end: float) -> int:
    """Return the status of the final reply, as soon as that has come."""
    data = b""
    while True:
        found = _STATUS.match(data)
        status = 0 if found is None else int(found[1])
        if status >= 200:
            return status
        head, blank, rest = data.partition(b"\r\n\r\n")
        if found is not None and blank:  # 1xx: another reply follows
            data = rest
            continue
        if (found is None and len(data) >= _SHORTEST) or len(head) > _MOST:
            raise NotTakenError("its reply is no HTTP/1.1")
        connection.settimeout(_left(end))
        piece = connection.recv(_PIECE)
        if not piece:
            raise NotTakenError("it closed the connection without a reply")
        data += piece


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left
