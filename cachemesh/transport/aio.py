"""The asyncio transport: one shared connection per shard, written to once per loop tick.

    task 1 -- send --\\                                   /-- future 1
    task 2 -- send ---+-- one write per tick --> Redis --+--- future 2
    task 3 -- send --/                                   \\-- future 3

Replies come in the order of the commands, so each goes to the oldest waiting future. A future
that was cancelled still takes its reply, which is thrown away: a reply never reaches another
command. When anything is wrong with the connection, all who wait on it are told and it is closed.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import hiredis
import redis
from redis.asyncio.connection import ConnectionPool

from cachemesh.core.errors import ShardUnavailableError
from cachemesh.core.names import Address
from cachemesh.transport import adapter
from cachemesh.transport.adapter import MORE
from cachemesh.transport.pools import AsyncShardPool, nobody_knows, not_serving

_HIGH_WATER = 1_048_576
_PUSH: tuple[type, ...] = (
    (hiredis.PushNotification,) if hasattr(hiredis, "PushNotification") else ()
)
LookAgain = Callable[[str, "Address | None"], Awaitable["Address | None"]]


class LinkClosedError(ConnectionError):
    """The connection was closed before the reply came; the command may or may not have run."""


class Collector:
    """Several replies for one future."""

    __slots__ = ("decode", "future", "replies")

    def __init__(self, future: asyncio.Future[list[Any]], decode: Sequence[bool]) -> None:
        self.future = future
        self.decode = decode
        self.replies: list[Any] = []


class Link(asyncio.Protocol):
    """A connection that many tasks share. Lives in one event loop.

    Args:
        reader: turns bytes into replies.
        timeout: seconds within which a reply has to come, None: for ever.
        loop: the running event loop.
        address: of the instance.
    """

    def __init__(
        self,
        reader: hiredis.Reader,
        timeout: float | None,
        loop: asyncio.AbstractEventLoop,
        address: Address,
    ) -> None:
        self.address = address
        self._reader, self._gets = reader, reader.gets
        self._timeout = timeout
        self._loop = loop
        self._make_future = loop.create_future
        self._transport: asyncio.Transport | None = None
        self._keep: object = None
        self._out: list[bytes] = []
        self._waiting: deque[asyncio.Future[Any] | Collector] = deque()
        self._undecoded: set[asyncio.Future[Any]] = set()
        self._flushes: deque[tuple[float, int]] = deque()  # (deadline, commands sent by then)
        self._sent = self._answered = 0
        self._watchdog: asyncio.TimerHandle | None = None
        self._writable: asyncio.Future[None] | None = None
        self._retired = False
        self.closed = False

    def take_over(self, connection: Any) -> None:
        """Go on with the socket of a redis-py connection whose handshake is done."""
        self._transport = adapter.transport_of(connection)
        self._transport.set_protocol(self)
        self._transport.set_write_buffer_limits(_HIGH_WATER)
        self._keep = connection  # its stream writer would close the socket when collected

    def wait_at_most(self, timeout: float | None, patience: float) -> None:
        """For a link of its own: let the next reply take ``patience`` seconds longer."""
        longest = math.inf if timeout is None else timeout + patience
        self._timeout = None if math.isinf(longest) else longest

    def send(self, payload: bytes, decode: bool = True) -> asyncio.Future[Any]:
        """Queue one packed command; the future gets its reply or the error reply as exception.

        Raises:
            LinkClosedError: the connection is closed; nothing was queued.
        """
        if self.closed:
            raise LinkClosedError("Connection closed")
        future = self._make_future()
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(payload)
        self._waiting.append(future)
        if not decode:
            self._undecoded.add(future)
        return future

    def send_all(self, payload: bytes, decode: Sequence[bool]) -> asyncio.Future[list[Any]]:
        """Queue several packed commands; the future gets their replies, error replies among them.

        Raises:
            LinkClosedError: the connection is closed; nothing was queued.
        """
        if self.closed:
            raise LinkClosedError("Connection closed")
        collector = Collector(self._make_future(), decode)
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(payload)
        self._waiting.append(collector)
        return collector.future

    async def wait_writable(self) -> None:
        """Wait while the server reads more slowly than we write."""
        while self._writable is not None:
            await asyncio.shield(self._writable)

    @property
    def is_full(self) -> bool:
        """Whether the socket takes no more for now; then `wait_writable` before `send`."""
        return self._writable is not None

    def retire(self) -> None:
        """Close once all replies under way have come."""
        self._retired = True
        if not self._waiting:
            self.fail(LinkClosedError("Connection retired"))

    def fail(self, error: Exception) -> None:
        """Close now, and tell all who wait."""
        if self.closed:
            return
        self.closed = True
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._transport is not None:
            self._transport.abort()
        adapter.disown(self._keep)
        self._keep = None
        self.resume_writing()
        waiting, self._waiting = self._waiting, deque()
        for item in waiting:
            future = item.future if isinstance(item, Collector) else item
            if not future.done():
                future.set_exception(error)

    def abandon(self, forked: bool) -> None:
        """Let go without the loop, which is closed or, in a forked child, the parent's.

        A child must not even close the socket's transport: that would reach into the parent's
        selector.
        """
        self.closed = True
        if forked:
            _abandoned.append(self)
        else:
            adapter.disown(self._keep)
            self._keep = self._transport = None  # closes the socket

    def _flush(self) -> None:
        out = self._out
        if self.closed or self._transport is None:
            return
        self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        self._sent += len(out)
        out.clear()
        if self._timeout is not None:
            self._flushes.append((self._loop.time() + self._timeout, self._sent))
            if self._watchdog is None:
                self._watchdog = self._loop.call_later(self._timeout, self._look)

    def _look(self) -> None:
        """The watchdog: has each flush been answered before its deadline?"""
        flushes, now = self._flushes, self._loop.time()
        while flushes and flushes[0][1] <= self._answered:
            flushes.popleft()
        if not flushes:
            self._watchdog = None
        elif flushes[0][0] > now:
            self._watchdog = self._loop.call_at(flushes[0][0], self._look)
        else:
            self.fail(TimeoutError(f"no reply within {self._timeout:g} s"))

    def data_received(self, data: bytes) -> None:
        """Called by the loop: hand each reply to the oldest waiting future."""
        gets, waiting, undecoded = self._gets, self._waiting, self._undecoded
        self._reader.feed(data)
        try:
            while waiting:
                item = waiting[0]
                if item.__class__ is Collector:
                    if not self._collect(item):
                        return
                    continue
                future: asyncio.Future[Any] = item  # type: ignore[assignment]
                reply = gets(False) if undecoded and future in undecoded else gets()
                if reply is MORE:
                    return
                if isinstance(reply, _PUSH):
                    continue
                waiting.popleft()
                self._answered += 1
                undecoded.discard(future)
                if future.done():
                    continue  # cancelled: nobody wants this reply
                if isinstance(reply, Exception):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
            self._check_unasked()
        except (redis.RedisError, UnicodeDecodeError) as error:
            self.fail(error)
        if self._retired and not waiting:
            self.fail(LinkClosedError("Connection retired"))

    def _collect(self, collector: Collector) -> bool:
        """Take replies for several commands; whether all of them have come."""
        replies, decode = collector.replies, collector.decode
        while len(replies) < len(decode):
            reply = self._gets(decode[len(replies)])
            if reply is MORE:
                return False
            if not isinstance(reply, _PUSH):
                replies.append(reply)
        self._waiting.popleft()
        self._answered += 1
        if not collector.future.done():
            collector.future.set_result(replies)
        return True

    def _check_unasked(self) -> None:
        while (reply := self._gets()) is not MORE:
            if not isinstance(reply, _PUSH):
                raise redis.InvalidResponse("A reply came that nobody asked for")

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the loop."""
        self.fail(LinkClosedError(str(error) if error else "Connection closed by server"))

    def pause_writing(self) -> None:
        """Called by the loop: the socket's buffer is full."""
        if self._writable is None:
            self._writable = self._make_future()

    def resume_writing(self) -> None:
        """Called by the loop: there is room again."""
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)


_abandoned: list[Link] = []


class Node:
    """The way to one shard, for asyncio.

    Args:
        shard: its name.
        template: connection options.
        look_again: asks Sentinel anew because the given address did not serve.
        loop: the event loop all connections live in.
    """

    def __init__(
        self,
        shard: str,
        template: ConnectionPool,
        look_again: LookAgain,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.shard = shard
        self._template = template
        self._look_again = look_again
        self._loop = loop
        self._options: Mapping[str, Any] = {}
        self._timeout: float | None = None
        self._master: Address | None = None
        self._connecting: asyncio.Task[Link] | None = None
        self._pool: AsyncShardPool | None = None
        self._idle: list[Link] = []  # for commands that block
        self.link: Link | None = None

    @property
    def master(self) -> Address | None:
        """Where the master is, as far as known."""
        return self._master

    @property
    def pool(self) -> AsyncShardPool:
        """A redis.asyncio connection pool to this shard's master."""
        if self._pool is None:
            self._pool = AsyncShardPool(self.shard, self._template, self._where)
        return self._pool

    async def _where(self, failed: Address | None) -> Address | None:
        if failed is None and self._master is not None:
            return self._master
        return await self._look_again(self.shard, failed)

    def configure(self, options: Mapping[str, Any], timeout: float | None) -> None:
        """Connection options, and seconds to wait for a reply."""
        if (options, timeout) != (self._options, self._timeout):
            self._options, self._timeout = options, timeout
            self.drop_links()

    def point_to(self, master: Address | None) -> None:
        """The master is there now; the connection to another one is dropped."""
        if master != self._master:
            self._master = master
            self.drop_links()

    def drop_links(self) -> None:
        """Close the connection once the replies under way have come. From any thread."""
        links, self.link, self._idle = [*self._idle, self.link], None, []
        for link in links:
            if link is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(link.retire)

    async def close(self) -> None:
        """Close all connections; replies under way still come."""
        links, self.link, self._idle = [*self._idle, self.link], None, []
        for link in links:
            if link is not None:
                link.retire()
        if self._pool is not None:
            await self._pool.disconnect()

    def abandon(self, forked: bool = False) -> None:
        """The client goes on in another loop, or in a forked child."""
        links, self.link, self._idle = [*self._idle, self.link], None, []
        for link in links:
            if link is None:
                continue
            if forked or self._loop.is_closed():
                link.abandon(forked)
            else:
                self._loop.call_soon_threadsafe(link.retire)

    async def execute(self, args: tuple[Any, ...], read_only: bool, decode: bool = True) -> Any:
        """Send one command and return its reply; retried as in the sync transport.

        Raises:
            ShardUnavailableError: the master does not answer; ShardTimeoutError: not in time.
            redis.ResponseError: the command was answered with an error.
            redis.DataError: an argument Redis has no form for.
        """
        payload = adapter.pack(args)
        tries_left = 2
        while True:
            address = self._master
            link = self.link
            try:
                if link is None or link.closed or link.is_full:
                    link = await self.connected()
                return await link.send(payload, decode)
            except (OSError, redis.ReadOnlyError, redis.InvalidResponse) as error:
                not_run = isinstance(error, redis.ReadOnlyError)
                if not tries_left or not (read_only or not_run):
                    raise self.unavailable(address, error) from error
                if not_run and link is not None:
                    link.retire()
                    self.link = None
            tries_left -= 1
            await self._look_again(self.shard, address)

    async def execute_blocking(self, args: tuple[Any, ...], decode: bool, patience: float) -> Any:
        """Send a command that may block on the server for ``patience`` seconds; never retried.

        It has a connection to itself, so that nobody waits behind it.

        Raises:
            As `execute`.
        """
        payload = adapter.pack(args)
        link = await self._apart()
        link.wait_at_most(self._timeout, patience)
        try:
            reply = await link.send(payload, decode)
        except redis.ResponseError:
            self._put_back(link)
            raise
        except (OSError, redis.InvalidResponse) as error:
            raise self.unavailable(None, error) from error
        except asyncio.CancelledError:
            link.fail(LinkClosedError("Cancelled"))  # else it would still pop what comes
            raise
        self._put_back(link)
        return reply

    async def _apart(self) -> Link:
        while self._idle:
            link = self._idle.pop()
            if not link.closed:
                return link
        return await self._connect()

    def _put_back(self, link: Link) -> None:
        if not link.closed and link.address == self._master:
            self._idle.append(link)
        else:
            link.retire()

    async def send_all(
        self, payload: bytes, decode: Sequence[bool]
    ) -> list[Any] | ShardUnavailableError:
        """Packed commands in one write; their replies, or why the shard gave none."""
        try:
            link = self.link
            if link is None or link.closed or link.is_full:
                link = await self.connected()
            return await link.send_all(payload, decode)
        except ShardUnavailableError as error:
            return error
        except (OSError, redis.InvalidResponse) as error:
            return self.unavailable(None, error)

    async def connected(self) -> Link:
        """A link that takes commands; all who ask meanwhile share one attempt.

        Raises:
            ShardUnavailableError: the master cannot be reached.
        """
        link = self.link
        if link is None or link.closed:
            if self._connecting is None:
                self._connecting = self._loop.create_task(self._connect_shared())
                self._connecting.add_done_callback(self._connect_done)
            link = await asyncio.shield(self._connecting)
        await link.wait_writable()
        return link

    def _connect_done(self, task: asyncio.Task[Link]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # seen, also when all who waited were cancelled

    async def _connect_shared(self) -> Link:
        self.link = link = await self._connect()
        return link

    async def _connect(self) -> Link:
        address = self._master
        for last_try in (False, False, True):
            if address is None:
                address = await self._look_again(self.shard, None)
            if address is None:
                raise nobody_knows(self.shard)
            try:
                connection = await adapter.connect_async(self._template, address, self._options)
            except (OSError, redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError) as e:
                if isinstance(e, redis.AuthenticationError):
                    raise
                found = await self._look_again(self.shard, address)
                if last_try or found == address:
                    raise self.unavailable(address, e) from e
                address = found
                continue
            reader = adapter.make_reader(self._template.connection_kwargs)
            link = Link(reader, self._timeout, self._loop, address)
            link.take_over(connection)
            return link
        raise AssertionError("unreachable")

    def unavailable(self, address: Address | None, error: Exception) -> ShardUnavailableError:
        """The error that tells an app why this shard did not answer."""
        return not_serving(self.shard, address or self._master, error)
