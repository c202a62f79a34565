"""The floor: sockets and hiredis, requests packed in advance; no pool, no routing, no checks."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from benchmarks.peers.base import PeerClient
from benchmarks.peers.packed import Packed, spread
from benchmarks.servers import Servers
from cachemesh.core.names import Address

_RECEIVE_BYTES = 1 << 16

Connection = tuple[Callable[[bytes], None], Callable[[int], bytes], Any, Callable[[], Any]]
"""A connection as the functions that a call needs: send, receive, feed, next reply."""


class Floor:
    """One connection to each address, used by one thread."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses
        self._sockets = [socket.create_connection(address) for address in addresses]
        self._connections = [_connected(sock) for sock in self._sockets]
        self._packed = Packed(len(addresses))
        self._more: list[Floor] = []
        self._gets = self._packed.gets

    def client(self) -> PeerClient:
        return PeerClient(
            self.get, self.set, self.mget, self.pipeline, self.close, for_threads=self._for_threads
        )

    def get(self, key: str) -> Any:
        at, request = self._gets[key]
        send, receive, feed, reply_of = self._connections[at]
        send(request)
        feed(receive(_RECEIVE_BYTES))
        while (reply := reply_of()) is False:
            feed(receive(_RECEIVE_BYTES))
        return reply

    def set(self, key: str, value: bytes) -> Any:
        at, request = self._packed.set(key, value)
        self._connections[at][0](request)
        return _read(self._connections[at])

    def mget(self, keys: Sequence[str]) -> Any:
        parts = self._packed.mgets[keys]
        for at, request, _ in parts:
            self._connections[at][0](request)
        return spread(
            len(keys), [(positions, _read(self._connections[at])) for at, _, positions in parts]
        )

    def pipeline(self, keys: Sequence[str]) -> Any:
        parts = self._packed.pipelines[keys]
        for at, request, _ in parts:
            self._connections[at][0](request)
        return spread(
            len(keys),
            [
                (positions, [_read(self._connections[at]) for _ in positions])
                for at, _, positions in parts
            ],
        )

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()
        for more in self._more:
            more.close()

    def _for_threads(self, count: int) -> list[PeerClient]:
        while len(self._more) < count:
            self._more.append(Floor(self._addresses))
        return [floor.client() for floor in self._more[:count]]


def _connected(sock: socket.socket) -> Connection:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    reader = hiredis.Reader()
    return sock.sendall, sock.recv, reader.feed, reader.gets


def _read(connection: Connection) -> Any:
    _, receive, feed, reply_of = connection
    while (reply := reply_of()) is False:
        feed(receive(_RECEIVE_BYTES))
    return reply


def one_server(servers: Servers) -> PeerClient:
    """Connect one socket to the server outside the pool."""
    return Floor([servers.single]).client()


def four_servers(servers: Servers) -> PeerClient:
    """Connect a socket to each of the pool's four servers: the cost of four servers."""
    return Floor(servers.pool(4).masters).client()
