"""The floor: one socket to one server, commands packed by hiredis, no routing, no checks."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any, cast

import hiredis

from benchmarks.servers import Servers

_RECEIVE_BYTES = 1 << 16
_pack: Any = hiredis.pack_command  # its stub takes tuples of one word only


class RawPeer:
    """What a blocking client costs at least."""

    def __init__(self, servers: Servers) -> None:
        self._socket = socket.create_connection(servers.single)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def load(self, items: Mapping[str, bytes]) -> None:
        for key, value in items.items():
            self._call("SET", key, value)

    def get(self, key: str) -> bytes | None:
        return cast("bytes | None", self._call("GET", key))

    def mget(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        return cast("list[bytes | None]", self._call("MGET", *keys))

    def close(self) -> None:
        self._socket.close()

    def _call(self, *words: str | bytes) -> Any:
        self._socket.sendall(_pack(words))
        reader = self._reader
        while (reply := reader.gets()) is False:
            reader.feed(self._socket.recv(_RECEIVE_BYTES))
        return reply
