"""The floor on asyncio: one protocol, which writes all requests of a loop's tick at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import hiredis

from benchmarks.peers.base import PeerClient
from benchmarks.peers.packed import Packed
from benchmarks.servers import Servers


class _Protocol(asyncio.Protocol):
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._out: list[bytes] = []
        self.closed = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def call(self, request: bytes, replies: int = 1) -> asyncio.Future[Any]:
        """Send a request and return the future of the last of its replies."""
        for _ in range(replies):
            future = self._loop.create_future()
            self._waiting.append(future)
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(request)
        return future

    def calls(self, request: bytes, replies: int) -> list[asyncio.Future[Any]]:
        """Send a request and return the futures of all its replies."""
        self.call(request, replies)
        return list(self._waiting)[-replies:]

    def _flush(self) -> None:
        self.transport.write(b"".join(self._out))
        self._out.clear()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        waiting, reply_of = self._waiting, self._reader.gets
        while (reply := reply_of()) is not False:
            waiting.popleft().set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed.set_result(None)


async def one_server(servers: Servers) -> PeerClient:
    """Open one connection to the server outside the pool."""
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_connection(_Protocol, *servers.single)
    packed = Packed(1)
    return PeerClient(
        partial(_get, protocol, packed),
        partial(_set, protocol, packed),
        partial(_mget, protocol, packed),
        partial(_pipeline, protocol, packed),
        partial(_close, protocol),
    )


def _get(protocol: _Protocol, packed: Packed, key: str) -> asyncio.Future[Any]:
    return protocol.call(packed.gets[key][1])


def _set(protocol: _Protocol, packed: Packed, key: str, value: bytes) -> asyncio.Future[Any]:
    return protocol.call(packed.set(key, value)[1])


def _mget(protocol: _Protocol, packed: Packed, keys: Sequence[str]) -> asyncio.Future[Any]:
    ((_, request, _),) = packed.mgets[keys]
    return protocol.call(request)


async def _pipeline(protocol: _Protocol, packed: Packed, keys: Sequence[str]) -> list[Any]:
    ((_, request, _),) = packed.pipelines[keys]
    return [await future for future in protocol.calls(request, len(keys))]


async def _close(protocol: _Protocol) -> None:
    protocol.transport.close()
    await protocol.closed
