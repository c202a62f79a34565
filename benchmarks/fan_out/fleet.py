"""A fleet of watching clients on raw sockets, in a process of its own, cheap beside the metaserver.

    python -m benchmarks.fan_out.fleet HOST:PORT POOL VERSION CLIENTS [--reconnect] [--reports]

The token is in CACHEMESH_TOKEN. A line of JSON is written once all clients watch, and one for each
change that all of them were told of: {"version", "first", "last"}, in seconds of CLOCK_MONOTONIC.
A client that is told watches again at once. The process ends with its standard input.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import select
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

SHARDS = 4  # on which a call with a report reports
_AT_ONCE = 100  # connections that are made before their first replies are awaited
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_VERSION = re.compile(rb'"version": *(\d+)')


@dataclass
class Change:
    """What the clients were told of one version."""

    told: int = 0
    first: float = 0.0
    last: float = 0.0


@dataclass
class Fleet:
    """The clients of one process.

    Args:
        host, port: of the metaserver.
        pool: the pool's name.
        token: the bearer token.
        reconnect: whether each call is made on a connection of its own.
        shards: those on which each call reports, as that of an app does.
    """

    host: str
    port: int
    pool: str
    token: str
    reconnect: bool
    shards: Sequence[str] = ()
    changes: dict[int, Change] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._about = _about(self.shards)
        self._poll = select.epoll()
        self._sockets: dict[int, tuple[socket.socket, int]] = {}
        self._versions: dict[int, int] = {}  # that each client acts on
        self._begun: dict[int, bytes] = {}

    def watch(self, number: int, version: int, sock: socket.socket | None = None) -> None:
        """Send the watch call of a client, on its connection or on a new one."""
        self._versions[number] = version
        if sock is None:
            sock = socket.create_connection((self.host, self.port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[sock.fileno()] = sock, number
            self._poll.register(sock.fileno(), select.EPOLLIN)
        body = b'{"client": "%012x", "version": %d, %s}' % (number, version, self._about)
        sock.sendall(
            b"POST /v1/pools/%s/watch HTTP/1.1\r\nHost: %s:%d\r\nAccept-Encoding: identity\r\n"
            b"Accept: application/json\r\nAuthorization: Bearer %s\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (
                self.pool.encode(),
                self.host.encode(),
                self.port,
                self.token.encode(),
                len(body),
                body,
            )
        )

    def pump(self, timeout: float) -> None:
        """Take what has come within `timeout` seconds, and watch again where a client was told."""
        for fd, _events in self._poll.poll(timeout, 256):
            sock, number = self._sockets[fd]
            try:
                data = self._begun.pop(fd, b"") + sock.recv(65536)
            except ConnectionResetError:
                data = b""
            head, end, body = data.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            if not data:  # this process was so slow that the connection counted as idle
                self._drop(sock)
                self.watch(number, self._versions[number])
                continue
            if not end or length is None or len(body) < int(length[1]):
                self._begun[fd] = data
                continue
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"client {number} was answered: {data[:500]!r}")
            self._told(sock, number, body)

    def _told(self, sock: socket.socket, number: int, body: bytes) -> None:
        found = _VERSION.search(body)
        version, now = self._versions[number], time.monotonic()
        if found is not None:  # else it was held for a minute without a change
            version = int(found[1])
            change = self.changes.setdefault(version, Change(first=now))
            change.told, change.last = change.told + 1, now
        if self.reconnect:
            self._drop(sock)
            self.watch(number, version)
        else:
            self.watch(number, version, sock)

    def _drop(self, sock: socket.socket) -> None:
        self._poll.unregister(sock.fileno())
        del self._sockets[sock.fileno()]
        sock.close()


def _about(shards: Sequence[str]) -> bytes:
    """Return what each call tells besides its client's id and version."""
    body: dict[str, object] = {"wait": 60}
    if shards:
        latency = {str(bucket): 3 * bucket for bucket in range(60, 100)}
        quality = {"calls": 7200, "errors": {"timeout": 1}, "latency": latency}
        body |= {"sdk": "cachemesh 1.0", "host": socket.gethostname(), "process": os.getpid()}
        body |= {"app": None, "stats": {"reconnects": 1}}
        body["quality"] = dict.fromkeys(shards, quality)
    return json.dumps(body)[1:-1].encode()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("pool")
    parser.add_argument("version", type=int)
    parser.add_argument("clients", type=int)
    parser.add_argument("--reconnect", action="store_true")
    parser.add_argument("--reports", action="store_true")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    host, _, port = options.address.rpartition(":")
    token = os.environ["CACHEMESH_TOKEN"]
    shards = [f"{options.pool}-{number}" for number in range(SHARDS)] if options.reports else []
    fleet = Fleet(host, int(port), options.pool, token, options.reconnect, shards)
    for number in range(options.clients):
        fleet.watch(number, options.version)
        if number % _AT_ONCE == 0:
            fleet.pump(0.05)
    _write({"ready": options.clients})
    while not select.select([sys.stdin], [], [], 0)[0]:
        fleet.pump(0.1)
        for version, change in list(fleet.changes.items()):
            if change.told == options.clients:
                del fleet.changes[version]
                figures = {"version": version, "first": change.first, "last": change.last}
                _write(figures)


def _write(figures: object) -> None:
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
