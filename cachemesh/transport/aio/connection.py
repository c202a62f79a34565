"""One asyncio connection to an instance, shared by tasks and written to once per loop tick.

    task 1 -- send --\\                                   /-- future 1
    task 2 -- send ---+-- one write per tick --> Redis --+--- future 2
    task 3 -- send --/                                   \\-- future 3

Replies come in the order of the commands, so each goes to the oldest waiting future. A future
that was cancelled still takes its reply, which is thrown away: a reply never reaches another
command. When anything is wrong with the connection, every waiting future gets an error and the
connection is closed.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import hiredis
import redis

from cachemesh.core.names import Address
from cachemesh.core.quality.meter import QualityMeter
from cachemesh.core.resilience.error_classification import NotSentError
from cachemesh.transport import redis_py
from cachemesh.transport.lease_clock import LeaseEnd, clock
from cachemesh.transport.redis_py import MORE, PUSH

_HIGH_WATER = 1_048_576
_UNTIMED = 7
"""A mask: a write is timed if the number of commands sent has none of these bits."""


class ConnectionClosedError(ConnectionError):
    """The connection was closed before the reply came; the command may or may not have run."""


class Collector:
    """Collects several replies for one future."""

    __slots__ = ("decode", "future", "replies")

    def __init__(self, future: asyncio.Future[list[Any]], decode: Sequence[bool]) -> None:
        self.future = future
        self.decode = decode
        self.replies: list[Any] = []


class Connection(asyncio.Protocol):
    """A connection that many tasks share. Lives in one event loop.

    Args:
        reader: turns bytes into replies.
        timeout: seconds within which a reply has to come, None: for ever.
        loop: the running event loop.
        address: of the instance.
        ended: called with the connection when it is closed.

    Attributes:
        ready: whether `send` may be called: the connection is open, and the socket takes more.
            If not, `wait_writable` comes first.
        out: commands that leave at the end of this turn of the event loop.
        asked: when a command of this turn asked for the lease, by the clock of leases; else 0.
        closed: whether the connection was closed.
        sent: the command that has this connection to itself is in `out` or was sent, see
            `has_arrived`.
        why_closed: the error that closed the connection.
        meter: counts the replies and times some writes, on the connection that tasks share.
    """

    def __init__(
        self,
        reader: hiredis.Reader,
        timeout: float | None,
        loop: asyncio.AbstractEventLoop,
        address: Address,
        ended: Callable[[Connection], None],
    ) -> None:
        self.address = address
        self._ended = ended
        self._reader, self._gets = reader, reader.gets
        self._timeout = timeout
        self._loop = loop
        self._make_future = loop.create_future
        self._transport: asyncio.Transport | None = None
        self._keep: object = None
        self.out: list[bytes] = []
        self.asked = 0.0
        self._out_size = 0
        self._waiting: deque[asyncio.Future[Any] | Collector] = deque()
        self._undecoded: set[asyncio.Future[Any]] = set()
        self._flushes: deque[tuple[float, int]] = deque()  # (deadline, commands sent by then)
        self._sent = self._answered = 0
        self._watchdog: asyncio.TimerHandle | None = None
        self._writable: asyncio.Future[None] | None = None
        self._retired = False
        self.meter: QualityMeter | None = None
        self._counted = 0  # of those answered
        self._timed: tuple[int, float] | None = None  # a write: commands sent by then, and when
        self.closed = False
        self.ready = self.sent = True
        self.why_closed: Exception = ConnectionClosedError("Connection closed")

    def take_over(self, redis_connection: Any) -> None:
        """Go on with the socket of a redis-py connection whose handshake is done."""
        self._transport = redis_py.transport_of(redis_connection)
        self._transport.set_protocol(self)
        self._transport.set_write_buffer_limits(_HIGH_WATER)
        self._keep = redis_connection  # its stream writer would close the socket when collected

    def retime(self, seconds: float | None) -> None:
        """Set the timeout of replies; None: for ever.

        Replies that are waited for with a timeout come no later than with this one.
        """
        self._timeout = seconds
        if self._watchdog is None:
            return
        self._watchdog.cancel()
        self._watchdog = None
        if seconds is None:
            self._flushes.clear()
        else:
            latest = self._loop.time() + seconds
            self._flushes = deque((min(due, latest), sent) for due, sent in self._flushes)
            self._watchdog = self._loop.call_at(self._loop.time(), self._look)

    def wait_at_most(self, seconds: float) -> None:
        """Set the timeout of the next reply, on a connection that one command has to itself."""
        self._timeout = None if math.isinf(seconds) else seconds

    def send(self, payload: bytes, decode: bool = True) -> asyncio.Future[Any]:
        """Queue one packed command. Its future gets the reply, or the error reply as an exception.

        Raises:
            NotSentError: the connection is closed; nothing was queued.
        """
        if self.closed:
            raise NotSentError("the connection was closed")
        future = self._make_future()
        out = self.out
        if not out:
            self._loop.call_soon(self._flush)
        out.append(payload)
        self._waiting.append(future)
        if not decode:
            self._undecoded.add(future)
        self._out_size += len(payload)
        if self._out_size > _HIGH_WATER:
            self._flush()
        return future

    def send_all(self, payload: bytes, decode: Sequence[bool]) -> asyncio.Future[list[Any]]:
        """Queue several packed commands. Their future gets the replies, error replies among them.

        Raises:
            NotSentError: the connection is closed; nothing was queued.
        """
        if self.closed:
            raise NotSentError("the connection was closed")
        collector = Collector(self._make_future(), decode)
        if not self.out:
            self._loop.call_soon(self._flush)
        self.out.append(payload)
        self._waiting.append(collector)
        self._out_size += len(payload)
        if self._out_size > _HIGH_WATER:
            self._flush()
        return collector.future

    def ask_under(self, lease: LeaseEnd) -> float:
        """Return when a command asks that is sent next, for the others of this turn too.

        Args:
            lease: under which; 0 if it is over.
        """
        now = clock()
        if now > lease.until:
            return 0.0
        self.asked = now
        return now

    async def wait_writable(self) -> None:
        """Wait while the server reads more slowly than this side writes."""
        while self._writable is not None:
            await asyncio.shield(self._writable)

    def retire(self) -> None:
        """Close once all replies under way have come."""
        self._retired = True
        if not self._waiting:
            self.fail(ConnectionClosedError("Connection retired"))

    def send_no_more(self) -> None:
        """Tell the server that nothing more comes: it closes; what it has sent still arrives."""
        self._loop.call_soon_threadsafe(self._write_eof)

    def _write_eof(self) -> None:
        if self._transport is None or self.closed:
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:  # TLS
            self.shut()

    def has_arrived(self) -> bool:
        """Return whether the server's machine has the command that has this connection to itself.

        From any thread.
        """
        transport = self._transport
        if not self.sent or self.out:
            return False
        if transport is None:
            return True
        try:  # in this order: bytes go from `out` to the transport, and from there to the kernel
            if transport.get_write_buffer_size():
                return False
        except RuntimeError:  # it changes just now
            return False
        return redis_py.has_arrived(transport.get_extra_info("socket"))

    def shut(self) -> None:
        """Close now, under a task that waits for a reply: that one gets an error."""
        self.fail(ConnectionClosedError("Connection closed"))

    def fail(self, error: Exception) -> None:
        """Close now, and give every waiting future the error."""
        if self.closed:
            return
        self.closed, self.ready, self.why_closed = True, False, error
        self._ended(self)
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._transport is not None:
            self._transport.abort()
        redis_py.disown(self._keep)
        self._keep = None
        self.resume_writing()
        waiting, self._waiting = self._waiting, deque()
        for item in waiting:
            future = item.future if isinstance(item, Collector) else item
            if not future.done():
                # A copy for each: an exception that many raise collects all their tracebacks.
                future.set_exception(copy(error))

    def abandon(self, forked: bool) -> None:
        """Let go of the socket without the loop, which is closed or a forked child's parent's.

        A child must not even close the socket's transport: that would reach into the parent's
        selector.
        """
        self.closed, self.ready = True, False
        if forked:
            _abandoned.append(self)
        else:
            redis_py.disown(self._keep)
            self._keep = self._transport = None  # closes the socket

    def _flush(self) -> None:
        out = self.out
        if self.closed or self._transport is None or not out:
            return
        self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        self._sent += len(out)
        self._out_size, self.asked = 0, 0.0
        out.clear()
        if not self._sent & _UNTIMED and self._timed is None:
            self._timed = self._sent, self._loop.time()
        if self._timeout is not None:
            self._flushes.append((self._loop.time() + self._timeout, self._sent))
            if self._watchdog is None:
                self._watchdog = self._loop.call_later(self._timeout, self._look)

    def _look(self) -> None:
        """Close the connection if a flush was not answered before its deadline (the watchdog)."""
        flushes, now = self._flushes, self._loop.time()
        while flushes and flushes[0][1] <= self._answered:
            flushes.popleft()
        if not flushes:
            self._watchdog = None
        elif flushes[0][0] > now:
            self._watchdog = self._loop.call_at(flushes[0][0], self._look)
        else:
            self.fail(TimeoutError(f"no reply within {self._timeout:g} s"))

    def data_received(self, data: bytes) -> None:  # noqa: C901  # calls would cost time
        """Give each reply to the oldest waiting future. Called by the loop."""
        gets, waiting, undecoded = self._gets, self._waiting, self._undecoded
        try:
            self._reader.feed(data)
            while waiting:
                item = waiting[0]
                if item.__class__ is Collector:
                    if not self._collect(item):
                        return
                    continue
                future: asyncio.Future[Any] = item  # type: ignore[assignment]
                try:
                    reply = gets(False) if undecoded and future in undecoded else gets()
                except UnicodeDecodeError as error:
                    reply = error  # read to its end: the others' replies are good
                if reply is MORE:
                    return
                kind = reply.__class__
                if kind is PUSH:
                    continue
                waiting.popleft()
                self._answered += 1
                if undecoded:
                    undecoded.discard(future)
                if future.done():
                    continue  # cancelled: nobody wants this reply
                if kind is not bytes and isinstance(reply, Exception):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
            self._check_unasked()
        except (redis.RedisError, TypeError, ValueError, MemoryError) as error:
            self.fail(redis_py.unreadable(error))
        if self._timed is not None and self._answered >= self._timed[0]:
            self._measure(self._timed[1])
        if self._retired and not waiting:
            self.fail(ConnectionClosedError("Connection retired"))

    def _measure(self, began: float) -> None:
        """Count what was answered since the last time; a write's time counts for all of it."""
        answered, self._counted = self._answered - self._counted, self._answered
        self._timed = None
        if self.meter is not None:
            self.meter.calls += answered
            self.meter.timed(self._loop.time() - began, answered)

    def _collect(self, collector: Collector) -> bool:
        """Take replies for several commands, and return whether all of them have come."""
        replies, decode = collector.replies, collector.decode
        while len(replies) < len(decode):
            try:
                reply = self._gets(decode[len(replies)])
            except UnicodeDecodeError as error:
                reply = error
            if reply is MORE:
                return False
            if reply.__class__ is not PUSH:
                replies.append(reply)
        self._waiting.popleft()
        self._answered += 1
        if not collector.future.done():
            collector.future.set_result(replies)
        return True

    def _check_unasked(self) -> None:
        while (reply := self._gets()) is not MORE:
            if reply.__class__ is not PUSH:
                raise redis.InvalidResponse("A reply came that nobody asked for")

    def connection_lost(self, error: Exception | None) -> None:
        """Close this side too. Called by the loop."""
        self.fail(ConnectionClosedError(str(error) if error else "Connection closed by server"))

    def pause_writing(self) -> None:
        """Note that the socket's buffer is full. Called by the loop."""
        if self._writable is None:
            self._writable = self._make_future()
        self.ready = False

    def resume_writing(self) -> None:
        """Note that the socket's buffer has room again. Called by the loop."""
        writable, self._writable = self._writable, None
        self.ready = not self.closed
        if writable is not None and not writable.done():
            writable.set_result(None)


_abandoned: list[Connection] = []
