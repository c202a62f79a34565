"""TLS to instances and Sentinels: whom to trust, and a socket whose every call has one bound.

`TlsSocket` encrypts over a connected socket that stays a plain one. An `ssl.SSLSocket` waits its
timeout anew for each piece of a record, and so would wait without end for a server that sends a
byte now and then.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from metaserver.process.config import RedisTls

T = TypeVar("T")

_PIECE = 16 * 1024  # bytes received at once


class TlsError(OSError):
    """No TLS with a server, or not with these files; the text has the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(0, f"TLS: {reason}")

    def __str__(self) -> str:
        return self.strerror or ""


def context_of(tls: RedisTls) -> ssl.SSLContext:
    """Return what connections are encrypted with. Changed files are read again.

    Raises:
        TlsError: a file cannot be used.
    """
    files = [path for path in (tls.ca_certs, tls.certfile, tls.keyfile) if path is not None]
    try:
        return _context(tls, tuple(Path(path).stat().st_mtime_ns for path in files))
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "not valid"
        raise TlsError(f"{', '.join(files)}: {reason}; give PEM files that can be read") from error


@lru_cache(maxsize=4)
def _context(tls: RedisTls, _changed: tuple[int, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca_certs)
    context.check_hostname = tls.check_hostname
    if tls.certfile is not None:
        # Without a password OpenSSL would ask for one at the terminal.
        context.load_cert_chain(tls.certfile, tls.keyfile, password=lambda: tls.password or "")
    return context


class TlsSocket:
    """A connected socket, over which everything is encrypted from now on.

    Args:
        sock: connected; closed by `close`, also after an error.
        host: the name or IP address that the server's certificate has to be for.
        timeout: seconds for the whole handshake.

    Raises:
        TlsError: the handshake fails, or the certificate is not trusted.
        TimeoutError, OSError: as of the socket.
    """

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, host: str, timeout: float
    ) -> None:
        self._sock = sock
        self._timeout = timeout
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            self._tls = context.wrap_bio(self._received, self._to_send, server_hostname=host)
        except ValueError as error:  # no name that a certificate could be for
            raise TlsError(f"{host:.80} is no host name") from error
        self._do(self._tls.do_handshake)

    def settimeout(self, seconds: float) -> None:
        """Set how long each call may take in all; 0: none waits."""
        self._timeout = seconds

    def recv(self, size: int) -> bytes:
        """Return bytes that have come; none if the server has closed the connection.

        Raises:
            TimeoutError, BlockingIOError, OSError: as of the socket.
        """
        try:
            return self._do(lambda: self._tls.read(size))
        except TlsError as error:
            if isinstance(error.__cause__, (ssl.SSLZeroReturnError, ssl.SSLEOFError)):
                return b""
            raise

    def sendall(self, data: bytes) -> None:
        """Send all bytes.

        Raises:
            TimeoutError, OSError: as of the socket.
        """
        self._do(lambda: self._tls.write(data))

    def shutdown(self, how: int) -> None:
        """Shut the socket down, so that calls on other threads end."""
        self._sock.shutdown(how)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def _do(self, step: Callable[[], T]) -> T:
        """Take a step of the protocol, and send and receive what it needs for that."""
        end = time.monotonic() + self._timeout
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._send(end)
                self._receive(end)
            except ssl.SSLError as error:
                with suppress(OSError):
                    self._send(end)  # the alert, which tells the server why
                raise TlsError(_reason(error)) from error
            else:
                self._send(end)
                return result

    def _send(self, end: float) -> None:
        data = self._to_send.read()
        if data:
            self._sock.settimeout(self._left(end))
            self._sock.sendall(data)

    def _receive(self, end: float) -> None:
        self._sock.settimeout(self._left(end))
        data = self._sock.recv(_PIECE)
        if data:
            self._received.write(data)
        else:
            self._received.write_eof()
        time.sleep(0)  # as in `RespSocket`: another greenlet's turn

    def _left(self, end: float) -> float:
        if not self._timeout:
            return 0.0
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "the server closed the connection"
    return (error.reason or "failed").lower().replace("_", " ")
