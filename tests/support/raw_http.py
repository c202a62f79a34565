"""HTTP requests that no library would send: raw bytes to a port, and the replies to them."""

from __future__ import annotations

import http.client
import json
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from tests.support.waiting import AT_MOST


def answers(address: str) -> bool:
    """Return whether a server, "host:port", says that it is there."""
    connection = http.client.HTTPConnection(address, timeout=AT_MOST)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@dataclass(frozen=True)
class RawReply:
    """One HTTP reply of a connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document; reading it fails the test for any other reply."""
        assert self.status >= 400, self
        assert self.headers["content-type"] == "application/problem+json", self
        found: dict[str, Any] = json.loads(self.body)
        assert found["status"] == self.status
        assert found["code"]
        assert found["detail"]
        return found


@dataclass
class Conversation:
    """The replies of one connection.

    Attributes:
        replies: in order.
        closed_after: seconds until the server closed the connection; None: it stayed open.
    """

    replies: list[RawReply] = field(default_factory=list)
    closed_after: float | None = None


def exchange(
    address: str, data: bytes, *, seconds: float = 60.0, replies: int = 0, ends: bool = False
) -> Conversation:
    """Send bytes and read the replies.

    Args:
        address: "host:port".
        data: the bytes.
        seconds: timeout of each read.
        replies: stop after so many; 0: read until the server closes the connection.
        ends: tell the server by a half-close that no more bytes come.
    """
    host, _, port = address.rpartition(":")
    began = time.monotonic()
    talk = Conversation()
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        try:
            connection.sendall(data)
            if ends:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has seen enough; the reply is still there to be read
        with connection.makefile("rb") as incoming:
            while not replies or len(talk.replies) < replies:
                try:
                    line = incoming.readline()
                except ConnectionResetError:
                    line = b""
                if not line:
                    talk.closed_after = time.monotonic() - began
                    break
                talk.replies.append(_reply(line, incoming))
    return talk


def request(
    method: str, path: str, token: str | None, body: bytes = b"", *headers: str, length: bool = True
) -> bytes:
    """Return the bytes of a request; ``length`` adds a Content-Length header."""
    lines = [f"{method} {path} HTTP/1.1", "Host: metaserver", *headers]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _reply(line: bytes, incoming: Any) -> RawReply:
    version, status, *_ = line.split()
    assert version == b"HTTP/1.1", line
    headers = {}
    while (header := incoming.readline()) not in (b"\r\n", b""):
        name, _, value = header.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(incoming.readline(), 16):
            body += incoming.read(size)
            incoming.readline()
        incoming.readline()
    else:
        body = incoming.read(int(headers.get("content-length", 0)))
    return RawReply(int(status), headers, body)
