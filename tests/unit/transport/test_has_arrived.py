"""Whether a server has what was sent to it, as both kinds of connections tell."""

from __future__ import annotations

import asyncio
import socket
import sys
from types import SimpleNamespace

import hiredis
import pytest

from cachemesh.core.names import Address
from cachemesh.transport.aio.connection import Connection as AsyncConnection
from cachemesh.transport.sync.connection import Connection
from tests.support.waiting import until

ADDRESS = Address("127.0.0.1", 1)
LARGE = b"x" * 16_000_000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


def connected() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        return client, server.accept()[0]


def drain(sock: socket.socket) -> None:
    """Read all that is there."""
    sock.setblocking(False)
    try:
        while sock.recv(1_000_000):
            pass
    except BlockingIOError:
        return


def test_what_the_other_side_has_no_room_for_has_not_arrived() -> None:
    client, server = connected()
    with client, server:
        connection = Connection(SimpleNamespace(_sock=client), ADDRESS, hiredis.Reader())
        assert connection.has_arrived()
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                client.send(LARGE)
        assert not connection.has_arrived()

        def read_in() -> bool:
            drain(server)
            return connection.has_arrived()

        until(read_in)
        connection.sent = False
        assert not connection.has_arrived()
        connection.sent = True
        client.close()
        assert connection.has_arrived()


def test_what_waits_for_the_event_loop_has_not_arrived() -> None:
    async def body() -> None:
        client, server = connected()
        loop = asyncio.get_running_loop()
        connection = AsyncConnection(hiredis.Reader(), None, loop, ADDRESS, lambda _: None)
        with server:
            transport, _ = await loop.create_connection(lambda: connection, sock=client)
            redis_connection = SimpleNamespace(_writer=SimpleNamespace(transport=transport))
            connection.take_over(redis_connection)
            assert connection.has_arrived()
            asked = connection.send(b"PING\r\n")
            assert not connection.has_arrived()
            await asyncio.to_thread(until, connection.has_arrived)
            assert not connection.out
            more = connection.send(LARGE)
            assert not connection.has_arrived()

            def read_in() -> bool:
                drain(server)
                return connection.has_arrived()

            await asyncio.to_thread(until, read_in)
            connection.shut()
            for future in (asked, more):
                with pytest.raises(ConnectionError):
                    await future

    asyncio.run(body())
