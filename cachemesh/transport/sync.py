"""The blocking transport: links to one shard's master, any number of threads.

    Node (one shard) --- idle links (a stack) ---> Link (a socket and its hiredis reader)

A link is held by one thread for one exchange. Whatever interrupts an exchange closes the link, so
a reply can never be read by the next command.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

import hiredis
import redis
from redis.connection import ConnectionPool

from cachemesh.core.errors import ShardTimeoutError, ShardUnavailableError
from cachemesh.core.names import Address
from cachemesh.transport import adapter
from cachemesh.transport.adapter import MORE

_READ_SIZE = 65_536
_TRUSTED_SECONDS = 1.0  # a link idle for longer is looked at before it is used
_PUSH: tuple[type, ...] = (
    (hiredis.PushNotification,) if hasattr(hiredis, "PushNotification") else ()
)


class Link:
    """One connection. Not for two threads at once."""

    __slots__ = ("_connection", "_gets", "_reader", "_recv", "_send", "address", "used_at")

    def __init__(self, connection: Any, address: Address, reader: hiredis.Reader) -> None:
        sock = adapter.socket_of(connection)
        self._connection = connection
        self._send, self._recv = sock.sendall, sock.recv
        self._reader, self._gets = reader, reader.gets
        self.address = address
        self.used_at = 0.0

    def is_stale(self) -> bool:
        """Whether the server has closed it, or sent what nobody asked for."""
        return adapter.has_input(adapter.socket_of(self._connection))

    def send(self, payload: bytes) -> None:
        """Write packed commands.

        Raises:
            OSError: the connection broke, or the write did not finish in time.
        """
        self._send(payload)

    def read(self, decode: bool = True) -> Any:
        """The next reply; an error reply is returned, not raised.

        Raises:
            OSError: the connection broke or was closed, or no reply came in time.
            redis.InvalidResponse: what came is not RESP.
        """
        reply = self._gets(decode)
        while reply is MORE or isinstance(reply, _PUSH):
            if reply is MORE:
                data = self._recv(_READ_SIZE)
                if not data:
                    raise ConnectionResetError("Connection closed by server")
                self._reader.feed(data)
            reply = self._gets(decode)
        return reply

    def close(self) -> None:
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
                return  # another thread was faster

    def execute(self, args: tuple[Any, ...], read_only: bool, decode: bool = True) -> Any:
        """Send one command and return its reply.

        A command that surely has not run (no connection, or refused with READONLY) and any read
        is tried again once Sentinel has been asked anew. A write that may have run is not.

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
                reply = link.read(decode)
            except (OSError, redis.RedisError, UnicodeDecodeError) as error:
                link.close()
                if isinstance(error, UnicodeDecodeError):
                    raise
                if not read_only or not tries_left:
                    raise self._unavailable(link.address, error) from error
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
            tries_left -= 1
            self._relocate(link.address)

    def start(self, args: tuple[Any, ...]) -> tuple[Link, int]:
        """First half of an exchange: send. The caller must call `finish` or `abandon`.

        Raises:
            ShardUnavailableError: nobody to send to.
        """
        payload = adapter.pack(args)
        generation = self._generation
        link = self._take()
        try:
            link.send(payload)
        except OSError as error:
            link.close()
            raise self._unavailable(link.address, error) from error
        except BaseException:
            link.close()
            raise
        return link, generation

    def finish(self, link: Link, generation: int, decode: bool = True) -> Any:
        """Second half: the reply; an error reply is returned, not raised.

        Raises:
            ShardUnavailableError: the master does not answer; ShardTimeoutError: not in time.
        """
        try:
            reply = link.read(decode)
        except (OSError, redis.RedisError) as error:
            link.close()
            raise self._unavailable(link.address, error) from error
        except BaseException:
            link.close()
            raise
        self._give_back(link, generation)
        return reply

    def _take(self) -> Link:
        while True:
            try:
                link = self._idle.pop()
            except IndexError:
                return self._connect()
            if monotonic() - link.used_at < _TRUSTED_SECONDS or not link.is_stale():
                return link
            link.close()

    def _give_back(self, link: Link, generation: int) -> None:
        if generation == self._generation:
            link.used_at = monotonic()
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
                raise ShardUnavailableError(
                    f"Shard {self.shard!r}: no Sentinel knows its master; "
                    f"see: cachemesh shard show {self.shard}"
                )
            try:
                connection = adapter.connect(self._template, address, self._options)
            except (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError) as error:
                if isinstance(error, redis.AuthenticationError):
                    raise
                found = self._look_again(self.shard, address)
                if last_try or found == address:
                    raise self._unavailable(address, error) from error
                address = found
                continue
            adapter.bound_waiting(adapter.socket_of(connection), self._timeout)
            return Link(connection, address, adapter.make_reader(self._template.connection_kwargs))
        raise AssertionError("unreachable")

    def _relocate(self, address: Address) -> None:
        self._look_again(self.shard, address)  # a new master arrives by `point_to`

    def _unavailable(self, address: Address, error: Exception) -> ShardUnavailableError:
        timed_out = isinstance(error, (BlockingIOError, TimeoutError, redis.TimeoutError))
        kind = ShardTimeoutError if timed_out else ShardUnavailableError
        why = f"no reply within {self._timeout:g} s" if timed_out and self._timeout else str(error)
        return kind(
            f"Shard {self.shard!r} at {address}: {why}; its keys fail until it is back or a "
            f"replica is promoted, see: cachemesh shard show {self.shard}"
        )


def exchange(
    requests: Sequence[tuple[Node, tuple[Any, ...]]], read_only: bool, decode: bool = True
) -> list[Any]:
    """One command to each of several shards, all in flight at once; replies in order.

    Raises:
        The first failure, in order of ``requests``, after all replies have been taken in.
    """
    started: list[tuple[Node, Link, int] | Exception] = []
    replies: list[Any] = []
    try:
        for node, args in requests:
            try:
                started.append((node, *node.start(args)))
            except redis.RedisError as error:
                started.append(error)
        for item in started:
            replies.append(_reply(item, decode))
    finally:
        for item in started[len(replies) :]:  # interrupted half-way
            if not isinstance(item, Exception):
                item[1].close()
    for i, reply in enumerate(replies):
        if isinstance(reply, ShardUnavailableError | redis.ReadOnlyError) and (
            read_only or isinstance(reply, redis.ReadOnlyError)
        ):
            node, args = requests[i]
            replies[i] = node.execute(args, read_only, decode)
        elif isinstance(reply, Exception):
            raise reply
    return replies


def _reply(item: tuple[Node, Link, int] | Exception, decode: bool) -> Any:
    if isinstance(item, Exception):
        return item
    node, link, generation = item
    try:
        return node.finish(link, generation, decode)
    except redis.RedisError as error:
        return error
