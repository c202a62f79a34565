"""The asyncio transport: one shared connection per shard, others for what blocks.

Node (one shard) --- link: shared by all tasks
                 --- idle links, each for one command that blocks
                 --- pool: redis-py connections, for WATCH and pub/sub
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import redis
from redis.asyncio.connection import ConnectionPool

from cachemesh.core.errors import SentinelUnavailableError, ShardUnavailableError
from cachemesh.core.names import Address
from cachemesh.transport import adapter
from cachemesh.transport.aiolink import Link, LinkClosedError
from cachemesh.transport.pools import (
    AsyncShardPool,
    login_refused,
    nobody_knows,
    not_serving,
)

LookAgain = Callable[[str, "Address | None"], Awaitable["Address | None"]]


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
        if failed is None:
            return await self._look_again(self.shard, None)
        return await self._relocate(failed)

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
        if self._connecting is not None:
            await asyncio.wait([self._connecting])
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
        tries_left = 2
        while True:
            address = self._master
            link = self.link
            try:
                if link is None or link.closed or link.is_full:
                    link = await self.connected()
                # Packed as late as this, so that those who wait hold no copy of what they send.
                return await link.send(adapter.pack(args), decode)
            except (OSError, redis.ReadOnlyError, redis.InvalidResponse, MemoryError) as error:
                not_run = isinstance(error, redis.ReadOnlyError)
                again = tries_left and (read_only or not_run)
                found = await self._relocate(address) if again else address
                if not again or (found == address and isinstance(error, adapter.NOT_AGAIN)):
                    raise self.unavailable(address, error) from error
                if not_run and link is not None:
                    link.retire()
                    if self.link is link:
                        self.link = None
            tries_left -= 1

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
        except (OSError, redis.InvalidResponse, MemoryError) as error:
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
        except (OSError, redis.InvalidResponse, MemoryError) as error:
            return self.unavailable(None, error)

    async def connected(self) -> Link:
        """A link that takes commands; all who ask meanwhile share one attempt.

        Raises:
            ShardUnavailableError: the master cannot be reached.
            TimeoutError: it reads nothing any more.
        """
        while True:
            link = self.link
            if link is None or link.closed:
                if self._connecting is None:
                    self._connecting = self._loop.create_task(self._connect_shared())
                    self._connecting.add_done_callback(self._connect_done)
                link = await asyncio.shield(self._connecting)
            await link.wait_writable()
            if not link.closed:
                return link
            if isinstance(link.why_closed, TimeoutError):
                raise link.why_closed

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
            except (OSError, *adapter.NOT_CONNECTED) as error:
                if isinstance(error, redis.AuthenticationError):
                    raise login_refused(self.shard, address, error) from error
                found = await self._relocate(address)
                if last_try or found == address:
                    raise self.unavailable(address, error) from error
                address = found
                continue
            reader = adapter.make_reader(self._template.connection_kwargs)
            link = Link(reader, self._timeout, self._loop, address)
            link.take_over(connection)
            return link
        raise AssertionError("unreachable")

    async def _relocate(self, address: Address | None) -> Address | None:
        """Where the master is by what Sentinel says now; a new one has arrived by `point_to`."""
        try:
            return await self._look_again(self.shard, address)
        except SentinelUnavailableError:
            return address  # as before: what the shard itself says counts

    def unavailable(self, address: Address | None, error: Exception) -> ShardUnavailableError:
        """The error that tells an app why this shard did not answer."""
        return not_serving(self.shard, address or self._master, error)
