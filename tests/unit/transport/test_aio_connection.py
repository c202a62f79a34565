"""A connection that asyncio tasks share, without a server."""

from __future__ import annotations

import asyncio

import hiredis
import pytest

from cachemesh.core.names import Address
from cachemesh.core.resilience.error_classification import Failure, NotSentError, failure_of
from cachemesh.transport.aio.connection import Connection, ConnectionClosedError


def test_what_a_closed_one_did_not_take_has_not_run() -> None:
    """It may close between a task being given it and the task sending: a write goes elsewhere."""

    async def body() -> None:
        loop = asyncio.get_running_loop()
        connection = Connection(
            hiredis.Reader(), None, loop, Address("127.0.0.1", 1), lambda _: None
        )
        connection.fail(ConnectionClosedError("Connection to a former master ended"))
        for send in (lambda: connection.send(b""), lambda: connection.send_all(b"", [True])):
            with pytest.raises(NotSentError) as caught:
                send()
            assert failure_of(caught.value) is Failure.NOT_SENT

    asyncio.run(body())
