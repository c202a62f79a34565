"""asyncio connections to one redis-server, and whether it serves.

Instance --- connection: shared by all tasks
         --- idle connections, each for one command that blocks
         --- breaker: open means that commands fail at once, while a task probes
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Collection, Sequence
from copy import copy
from typing import Any

import redis

from cachemesh.core.resilience.error_classification import (
    NOT_SERVED,
    Failure,
    NotSentError,
    is_answer,
    refused,
)
from cachemesh.core.resilience.pipeline_part import holds_error
from cachemesh.core.resilience.retry import Timeouts
from cachemesh.transport import redis_py
from cachemesh.transport.aio.connection import Connection, ConnectionClosedError
from cachemesh.transport.aio.probed_instance import ProbedInstance
from cachemesh.transport.instance_base import PING, PING_SECONDS, InstanceSpec


class Instance(ProbedInstance):
    """Connections to one redis-server. Lives in one event loop; `drop` may come from any thread.

    Args:
        spec: of `InstanceBase`.
        loop: the event loop all connections live in.

    Attributes:
        connection: the one that tasks share; None if there is none yet.
    """

    def __init__(self, spec: InstanceSpec, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(spec)
        self.loop = loop
        self.connection: Connection | None = None
        self._idle: list[Connection] = []  # for commands that block
        self._connections: set[Connection] = set()
        self._connecting: asyncio.Task[Connection] | None = None
        self._probing: asyncio.Task[None] | None = None

    async def ask_within(self, args: tuple[Any, ...], decode: bool, seconds: float) -> Any:
        """Send one command and return its reply, within so many seconds.

        Raises:
            NotSentError, OSError, MemoryError: no reply came.
            redis.RedisError: likewise, or an error reply.
        """
        until = time.monotonic() + seconds
        connection = await self.connected_within(seconds)
        # Packed as late as this, so that those who wait hold no copy of what they send.
        sent = connection.send(redis_py.pack(args), decode)
        reply = await in_time(sent, until - time.monotonic())
        self.served()
        return reply

    async def ask_all(self, payload: bytes, decode: Sequence[bool], seconds: float) -> list[Any]:
        """Send several packed commands and return their replies, error replies among them.

        Raises:
            As `ask_within`, but for error replies.
        """
        connection = self.connection
        if connection is not None and connection.ready and not self.doubted:
            return await connection.send_all(payload, decode)
        until = time.monotonic() + seconds
        connection = await self.connected_within(seconds)
        sent = connection.send_all(payload, decode)
        replies: list[Any] = await in_time(sent, until - time.monotonic())
        if not holds_error(replies):
            self.served()
        return replies

    async def read(self, args: tuple[Any, ...], decode: bool, seconds: float) -> Any:
        """As `ask_within`, and count the reply, or error reply, in the load window."""
        connection = self.connection
        if connection is None or not connection.ready:
            connection = await self.connected_within(seconds)
        asked = time.monotonic()
        try:
            if self.role is None:  # a replica's connections have half of the time, see `ShardBase`
                reply = await connection.send(redis_py.pack(args), decode)
            else:
                reply = await self.ask_within(args, decode, seconds)
        except NOT_SERVED as error:
            if is_answer(error):
                self.window.succeeded(asked, time.monotonic() - asked)
            raise
        self.window.succeeded(asked, time.monotonic() - asked)
        if self.doubted:
            self.served()
        return reply

    async def connected(self) -> Connection:
        """Return the connection that all share. Tasks that ask meanwhile share one attempt.

        Raises:
            NotSentError: the instance cannot be connected to.
            TimeoutError: the instance reads nothing any more.
        """
        while True:
            if self.dropped:
                raise NotSentError("the connection was dropped")
            connection = self.connection
            if connection is None or connection.closed:
                if self._connecting is None:
                    self._connecting = self.loop.create_task(self._connect_shared())
                    self._connecting.add_done_callback(self._connect_done)
                try:
                    connection = await asyncio.shield(self._connecting)
                except NotSentError as error:  # to each task one of its own
                    raise copy(error) from error.__cause__
            await connection.wait_writable()
            if not connection.closed:
                return connection
            if isinstance(connection.why_closed, TimeoutError):
                raise copy(connection.why_closed)

    async def connected_within(self, seconds: float) -> Connection:
        """As `connected`, within so many seconds.

        Raises:
            NotSentError: also if connecting takes longer. That is no failure of the instance yet:
                other tasks wait for the same connection, and `connect` records its outcome.
            TimeoutError: the instance reads nothing any more.
        """
        try:
            connection: Connection = await in_time(self.connected(), seconds)
        except TimeoutError:
            if self._connecting is None:
                raise
            late = TimeoutError("not connected in time")
            raise NotSentError(str(late)) from late
        return connection

    def _connect_done(self, task: asyncio.Task[Connection]) -> None:
        self._connecting = None
        seen(task)

    async def _connect_shared(self) -> Connection:
        connection = await self.connect()
        if self.dropped:
            connection.retire()
        connection.meter = self.meter
        self.connection = connection
        return connection

    async def take(self, within: float | None = None) -> Connection:
        """Return an idle connection for one command alone, or open one. Arguments as `connect`."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        connection = await self.connect(within)
        if self.dropped:
            connection.retire()
            raise NotSentError("the connection was dropped")
        return connection

    def give_back(self, connection: Connection) -> None:
        """Take back a connection that `take` gave."""
        if self.dropped or connection.closed:
            connection.retire()
        else:
            connection.retime(self.timeouts.reply)
            self._idle.append(connection)

    async def ask_on(
        self, connection: Connection, payload: bytes, decode: bool, seconds: float
    ) -> Any:
        """As `ask_within`, on a connection that `take` gave, which is given back."""
        connection.wait_at_most(seconds)
        try:
            sending = connection.send(payload, decode)
            connection.sent = True
            reply = await sending
        except redis.ResponseError as error:
            if refused(error) is Failure.NOT_MASTER:
                connection.retire()  # after UNBLOCKED Redis hangs up
            else:
                self.give_back(connection)
            raise
        except asyncio.CancelledError:
            connection.fail(ConnectionClosedError("Cancelled"))  # else it would pop what comes
            raise
        self.give_back(connection)
        self.served()
        return reply

    async def ask_all_apart(
        self, payload: bytes, decode: Sequence[bool], seconds: float
    ) -> list[Any]:
        """As `ask_all`, over a connection that no task shares: the commands may block."""
        until = time.monotonic() + seconds
        connection = await self.take(seconds)  # not by another task, which could lose it
        connection.wait_at_most(until - time.monotonic())
        try:
            replies: list[Any] = await connection.send_all(payload, decode)
        except asyncio.CancelledError:
            connection.fail(ConnectionClosedError("Cancelled"))  # else it would pop what comes
            raise
        self.give_back(connection)
        if not holds_error(replies):
            self.served()
        return replies

    def _adopt(self, redis_connection: Any) -> Connection:
        reader = redis_py.make_reader(self.template.connection_kwargs)
        ended = self._connections.discard
        connection = Connection(reader, self.timeouts.reply, self.loop, self.address, ended)
        connection.take_over(redis_connection)
        self._connections.add(connection)
        return connection

    def _begin_probe(self) -> None:
        self._probing = self.loop.create_task(self._probe())
        self._probing.add_done_callback(seen)

    async def _probe_is_due(self, delay: float) -> bool:
        if not self.dropped:
            await asyncio.sleep(delay)
        return not self.dropped

    async def _ping(self, connection: Connection) -> Exception | None:
        answer: Exception | None = None
        try:
            await in_time(_answer(connection), PING_SECONDS)
        except NOT_SERVED as error:
            if not is_answer(error):
                connection.fail(ConnectionClosedError("Probe failed"))
                return error
            answer = error
        if self.dropped or (self.connection is not None and not self.connection.closed):
            self.give_back(connection)
        else:
            connection.retime(self.timeouts.reply)
            connection.meter = self.meter
            self.connection = connection
        return answer

    def close_idle(self) -> None:
        connections, self.connection, self._idle = [*self._idle, self.connection], None, []
        for connection in connections:
            if connection is not None:
                connection.retire()

    def retire(self, successor: Instance) -> None:
        # The shared connection stays: tasks may be about to send on it. The successor opens one.
        self.dropped = True
        self._end(None)

    def drained(self, but: Collection[Any]) -> bool:
        if self.loop.is_closed():
            return True
        return self._connecting is None and not self._connections.difference(but)

    def retime(self, timeouts: Timeouts) -> None:
        super().retime(timeouts)  # first: what is given back from now on takes them from there

        def retime_connections() -> None:
            for connection in (self.connection, *self._idle):  # not those of commands that block
                if connection is not None:
                    connection.retime(timeouts.reply)

        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(retime_connections)

    def drop(self, grace: float | None = None) -> None:
        """Close connections once the replies under way have come. From any thread.

        Args:
            grace: seconds after which no reply is waited for; None leaves commands to their time
                limits.
        """
        self.dropped = True
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._end, grace)

    def _end(self, grace: float | None) -> None:
        if self._probing is not None:
            self._probing.cancel()
        self.close_idle()
        if grace is not None and self._connections:
            self.loop.call_later(grace, self._fail_all)

    def _fail_all(self) -> None:
        for connection in list(self._connections):
            connection.fail(ConnectionClosedError("Connection to a former master ended"))

    async def close(self) -> None:
        """Close all connections. Replies under way still come."""
        self.dropped = True
        if self._connecting is not None:
            await asyncio.wait([self._connecting])
        self._end(None)
        if self._probing is not None:
            await asyncio.wait([self._probing])

    def abandon(self, forked: bool) -> None:
        """Let go of all connections: the client goes on in another loop, or in a forked child."""
        self.dropped = True
        connections, self.connection, self._idle = list(self._connections), None, []
        for connection in connections:
            if forked or self.loop.is_closed():
                connection.abandon(forked)
            else:
                self.loop.call_soon_threadsafe(connection.retire)
        if self._probing is not None and not (forked or self.loop.is_closed()):
            self.loop.call_soon_threadsafe(self._probing.cancel)


async def _answer(connection: Connection) -> Any:
    return await connection.send(PING)


async def in_time(work: Awaitable[Any], seconds: float) -> Any:
    """Return what ``work`` returns, within so many seconds.

    Unlike with `asyncio.wait_for`, no cancellation is lost before Python 3.12.

    Raises:
        TimeoutError: ``work`` was not done in time, and was cancelled.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(seen)
    try:
        await asyncio.wait((task,), timeout=None if math.isinf(seconds) else seconds)
        if task.done():
            return task.result()
    finally:
        task.cancel()  # does nothing if it is done
    raise TimeoutError("no reply in time")


def seen(task: asyncio.Task[Any]) -> None:
    """Look at a task's exception, also when all who waited for the task were cancelled."""
    if not task.cancelled():
        task.exception()
