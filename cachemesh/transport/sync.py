"""The blocking transport: links to one shard's master, any number of threads.

    Node (one shard) --- idle links (a stack) ---> Link (a socket and its hiredis reader)

A link is held by one thread for one exchange. Whatever interrupts an exchange closes the link, so
a reply can never be read by the next command.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import hiredis
import redis
from redis.connection import ConnectionPool

from cachemesh.core.errors import (
    SentinelUnavailableError,
    ShardTimeoutError,
    ShardUnavailableError,
)
from cachemesh.core.names import Address
from cachemesh.transport import adapter
from cachemesh.transport.adapter import MORE
from cachemesh.transport.pools import ShardPool, login_refused, nobody_knows, not_serving

READ_SIZE = 65_536
_LAST_CHANCE = 0.05  # seconds, for a reply that had all the time there is already
_PUSH: type = getattr(hiredis, "PushNotification", type(MORE))  # from hiredis 3.0 on


class Link:
    """One connection. Not for two threads at once."""

    __slots__ = (
        "_connection",
        "_reader",
        "address",
        "feed",
        "gets",
        "has_input",
        "has_reply",
        "recv",
        "send",
    )

    def __init__(self, connection: Any, address: Address, reader: hiredis.Reader) -> None:
        sock = adapter.socket_of(connection)
        self._connection = connection
        self._reader = reader
        # The calls of an exchange, looked up once: it is made of little else.
        self.send, self.recv = sock.sendall, sock.recv
        self.feed, self.gets = reader.feed, reader.gets
        # True before or after one: the server has hung up, or sent what nobody asked for.
        self.has_input, self.has_reply = adapter.input_probe(sock), reader.has_data
        self.address = address

    def wait_at_most(self, seconds: float | None) -> None:
        """Bound the waiting for bytes; None or infinity: not at all."""
        if seconds is not None and math.isinf(seconds):
            seconds = None
        adapter.bound_waiting(adapter.socket_of(self._connection), seconds)

    def read(self, decode: bool = True) -> Any:
        """The next reply; an error reply is returned, not raised.

        Raises:
            OSError: the connection broke or was closed, or no reply came in time.
            redis.InvalidResponse: what came is not RESP.
        """
        reply = self.gets(decode)
        while reply is MORE or reply.__class__ is _PUSH:
            if reply is MORE:
                data = self.recv(READ_SIZE)
                if not data:
                    raise ConnectionResetError("Connection closed by server")
                self.feed(data)
            reply = self.gets(decode)
        return reply

    def read_all(self, decode: Sequence[bool]) -> list[Any]:
        """As many replies as ``decode`` has items; raises as `read`."""
        gets, replies = self.gets, []
        for wanted in decode:
            reply = gets(wanted)
            if reply is MORE or reply.__class__ is _PUSH:
                reply = self.read(wanted)
            replies.append(reply)
        return replies

    def close(self) -> None:
        """Hang up."""
        self._connection.disconnect()


class Node:
    """The way to one shard: knows how to find its master and keeps connections to it.

    Args:
        shard: its name.
        template: connection options.
        look_again: asks Sentinel anew because the given address did not serve.
    """

    def __init__(
        self,
        shard: str,
        template: ConnectionPool,
        look_again: Callable[[str, Address | None], Address | None],
    ) -> None:
        self.shard = shard
        self._template = template
        self._look_again = look_again
        self._options: Mapping[str, Any] = {}
        self._timeout: float | None = None
        self._idle: deque[Link] = deque()
        self._generation = 0
        self._master: Address | None = None
        self._pool: ShardPool | None = None

    @property
    def master(self) -> Address | None:
        """Where the master is, as far as known."""
        return self._master

    @property
    def pool(self) -> ShardPool:
        """A redis-py connection pool to this shard's master."""
        if self._pool is None:
            self._pool = ShardPool(self.shard, self._template, self._where)
        return self._pool

    def _where(self, failed: Address | None) -> Address | None:
        if failed is None and self._master is not None:
            return self._master
        return self._look_again(self.shard, None) if failed is None else self._relocate(failed)

    def point_to(self, master: Address | None) -> None:
        """The master is there now; connections to another one are dropped."""
        if master != self._master:
            self._master = master
            self.drop_links()

    def configure(self, options: Mapping[str, Any], timeout: float | None) -> None:
        """Connection options and seconds to wait for a reply; connections made so far are dropped
        if these differ."""
        if (options, timeout) != (self._options, self._timeout):
            self._options, self._timeout = options, timeout
            self.drop_links()

    def drop_links(self) -> None:
        """Close all idle connections and, as they come back, those in use."""
        self._generation += 1
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:
                break  # another thread was faster
        if self._pool is not None:
            self._pool.disconnect(inuse_connections=False)

    def execute(self, args: tuple[Any, ...], read_only: bool, decode: bool = True) -> Any:
        """Send one command and return its reply.

        A command that surely has not run (no connection, or refused with READONLY) and any read
        is tried again once Sentinel has been asked anew. A write that may have run is not, nor is
        a read that got no reply in time, unless the master is another one by then.

        Raises:
            ShardUnavailableError: the master does not answer; ShardTimeoutError: not in time.
            redis.ResponseError: the command was answered with an error.
            redis.DataError: an argument Redis has no form for.
        """
        payload = adapter.pack(args)
        tries_left = 2
        while True:
            generation = self._generation
            link = self._take()
            try:
                link.send(payload)
                data = link.recv(READ_SIZE)
                if data:
                    link.feed(data)
                reply = link.gets(decode)
                if reply is MORE or reply.__class__ is _PUSH:
                    reply = link.read(decode)
            except (OSError, redis.RedisError, MemoryError) as error:
                link.close()
                found = self._relocate(link.address) if read_only and tries_left else link.address
                if found == link.address and (
                    not read_only or not tries_left or isinstance(error, adapter.NOT_AGAIN)
                ):
                    raise self.unavailable(link.address, error) from error
            except BaseException:
                link.close()
                raise
            else:
                if not isinstance(reply, Exception):
                    self._give_back(link, generation)
                    return reply
                if not isinstance(reply, redis.ReadOnlyError) or not tries_left:
                    self._give_back(link, generation)
                    raise reply
                link.close()
                self._relocate(link.address)
            tries_left -= 1

    def execute_blocking(self, args: tuple[Any, ...], decode: bool, patience: float) -> Any:
        """Send a command that may block on the server for ``patience`` seconds; never retried.

        Raises:
            As `execute`.
        """
        payload = adapter.pack(args)
        generation = self._generation
        link = self._take()
        longest = None if self._timeout is None else self._timeout + patience
        try:
            link.wait_at_most(longest)
            link.send(payload)
            reply = link.read(decode)
            link.wait_at_most(self._timeout)
        except (OSError, redis.InvalidResponse, MemoryError) as error:
            link.close()
            raise self.unavailable(link.address, error) from error
        except BaseException:
            link.close()
            raise
        self._give_back(link, generation)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def start(self, payload: bytes) -> tuple[Link, int]:
        """First half of an exchange: send packed commands.

        The caller goes on with `finish` or closes the link.

        Raises:
            ShardUnavailableError: nobody to send to.
        """
        generation = self._generation
        link = self._take()
        try:
            link.send(payload)
        except OSError as error:
            link.close()
            raise self.unavailable(link.address, error) from error
        except BaseException:
            link.close()
            raise
        return link, generation

    def finish(
        self, link: Link, generation: int, decode: Sequence[bool], late: bool = False
    ) -> list[Any]:
        """Second half: as many replies as ``decode`` has items; error replies are returned.

        Args:
            late: all time there is has passed; only replies that are there already are taken.

        Raises:
            ShardUnavailableError: the master does not answer; ShardTimeoutError: not in time.
        """
        try:
            if late:
                link.wait_at_most(_LAST_CHANCE)
            replies = link.read_all(decode)
            if late:
                link.wait_at_most(self._timeout)
        except (OSError, redis.RedisError, MemoryError) as error:
            link.close()
            raise self.unavailable(link.address, error) from error
        except BaseException:
            link.close()
            raise
        self._give_back(link, generation)
        return replies

    def _take(self) -> Link:
        while True:
            try:
                link = self._idle.pop()
            except IndexError:
                return self._connect()
            if not link.has_input():
                return link
            link.close()

    def _give_back(self, link: Link, generation: int) -> None:
        if generation == self._generation and not link.has_reply():
            self._idle.append(link)
        else:
            link.close()

    def _connect(self) -> Link:
        """Connect to the master; ask Sentinel anew if the one we know does not serve."""
        address = self._master
        for last_try in (False, False, True):
            if address is None:
                address = self._look_again(self.shard, None)
            if address is None:
                raise nobody_knows(self.shard)
            try:
                connection = adapter.connect(self._template, address, self._options)
            except adapter.NOT_CONNECTED as error:
                if isinstance(error, redis.AuthenticationError):
                    raise login_refused(self.shard, address, error) from error
                found = self._relocate(address)
                if last_try or found == address:
                    raise self.unavailable(address, error) from error
                address = found
                continue
            reader = adapter.make_reader(self._template.connection_kwargs)
            link = Link(connection, address, reader)
            link.wait_at_most(self._timeout)
            return link
        raise AssertionError("unreachable")

    def _relocate(self, address: Address) -> Address | None:
        """Where the master is by what Sentinel says now; a new one has arrived by `point_to`."""
        try:
            return self._look_again(self.shard, address)
        except SentinelUnavailableError:
            return address  # as before: what the shard itself says counts

    def unavailable(self, address: Address | None, error: Exception) -> ShardUnavailableError:
        """The error that tells an app why this shard did not answer."""
        return not_serving(self.shard, address or self._master, error)


Sending = tuple[Node, bytes, Sequence[bool]]
"""A node, packed commands for it, and for each of their replies whether to decode it."""


def exchange(sendings: Iterable[Sending]) -> list[list[Any] | ShardUnavailableError]:
    """Commands to several shards, all in flight at once: one write and one read per shard.

    Args:
        sendings: may be made one by one; a shard works on its part while the next is packed.

    Returns:
        Per sending its replies, error replies among them, or why the shard gave none.
    """
    started: list[tuple[Node, Sequence[bool], Link, int] | ShardUnavailableError] = []
    results: list[list[Any] | ShardUnavailableError] = []
    late = False
    try:
        for node, payload, decode in sendings:
            try:
                started.append((node, decode, *node.start(payload)))
            except ShardUnavailableError as error:
                started.append(error)
        for item in started:
            if isinstance(item, ShardUnavailableError):
                results.append(item)
                continue
            node, decode, link, generation = item
            try:
                results.append(node.finish(link, generation, decode, late))
            except ShardUnavailableError as error:
                late = late or isinstance(error, ShardTimeoutError)  # so have the others been
                results.append(error)
    finally:
        for item in started[len(results) :]:  # interrupted half-way
            if not isinstance(item, ShardUnavailableError):
                item[2].close()
    return results


def gather(
    requests: Sequence[tuple[Node, tuple[Any, ...]]],
    read_only: bool,
    decode: bool = True,
    keep_errors: bool = False,
) -> list[Any]:
    """One command to each of several shards, all in flight at once; replies in order.

    A part that failed without having run is tried again on its own, as in `Node.execute`.

    Args:
        keep_errors: error replies, and shards that gave none, stand in the list as exceptions.

    Raises:
        The first failure, in order of ``requests``, after all replies have been taken in.
    """
    packed = ((node, adapter.pack(args), (decode,)) for node, args in requests)
    # What writes is packed whole before any of it is sent: an argument may prove bad.
    results = exchange(packed if read_only else list(packed))
    replies = []
    for (node, args), result in zip(requests, results, strict=True):
        reply = result if isinstance(result, ShardUnavailableError) else result[0]
        if isinstance(reply, redis.ReadOnlyError) or (
            read_only
            and isinstance(reply, ShardUnavailableError)
            and not isinstance(reply, ShardTimeoutError)
        ):
            reply = node.execute(args, read_only, decode)
        elif isinstance(reply, Exception) and not keep_errors:
            raise reply
        replies.append(reply)
    return replies
