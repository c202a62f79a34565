"""Blocking connections to one redis-server, and whether it serves.

    Instance --- idle connections (a stack) ---> Connection
             --- breaker: open means that commands fail at once, while a thread probes

A connection is held by one thread for one exchange. Whatever interrupts an exchange closes the
connection, so a reply can never be read by the next command.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Collection, Sequence
from typing import Any

from cachemesh.core.quality.meter import SKIPPED
from cachemesh.core.resilience.error_classification import (
    NOT_SERVED,
    Failure,
    NotSentError,
    is_answer,
    refused,
)
from cachemesh.core.resilience.pipeline_part import PartOutcome, holds_error
from cachemesh.transport import redis_py
from cachemesh.transport.instance_base import PING, PING_SECONDS, InstanceSpec
from cachemesh.transport.lease_clock import by_monotonic, clock
from cachemesh.transport.redis_py import MORE, PUSH
from cachemesh.transport.sync.connection import LUMP, READ_SIZE, Connection
from cachemesh.transport.sync.probed_instance import ProbedInstance

_LAST_LOOK = 0.002  # seconds, for a reply that had all the time there is already


class Instance(ProbedInstance):
    """Connections to one redis-server. Threads may share it.

    Attributes:
        idle: connections that no thread holds.
    """

    def __init__(self, spec: InstanceSpec) -> None:
        super().__init__(spec)
        self.idle: deque[Connection] = deque()
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._gone = threading.Event()

    def ask(self, payload: bytes, decode: bool, deadline: float) -> Any:
        """Send one packed command and return its reply; an error reply is returned, not raised.

        Args:
            payload: the command.
            decode: whether to decode the reply.
            deadline: by the clock of leases.

        Raises:
            NotSentError: there is no connection.
            OSError, redis.RedisError, MemoryError: no reply came.
        """
        try:
            connection = self.idle.pop()
        except IndexError:
            return self._ask_packed(payload, decode, deadline - clock())
        if len(payload) > LUMP or connection.has_input():
            self.give_back(connection)
            return self._ask_packed(payload, decode, deadline - clock())
        if connection.timeouts is not self.timeouts:  # only the thread that has it may set bounds
            self._bound(connection)
        try:
            connection.send(payload)
            data = connection.recv(READ_SIZE)
            if data:
                connection.feed(data)
            reply = connection.gets(decode)
            if reply is MORE or reply.__class__ is PUSH:
                reply = connection.read(decode, by_monotonic(deadline))
                connection.wait_at_most(self.timeouts.reply)
        except (TypeError, ValueError) as error:
            self.close(connection)
            redis_py.raise_unreadable(error)
        except BaseException:
            self.close(connection)
            raise
        if self.dropped or connection.has_reply():
            self.close(connection)
        else:
            self.idle.append(connection)
        if self.doubted and not isinstance(reply, Exception):
            self.served()
        return reply

    def ask_within(self, args: tuple[Any, ...], decode: bool, seconds: float) -> Any:
        """As `ask`, within so many seconds, which may be less than usual, or more."""
        return self._ask_packed(redis_py.pack(args), decode, seconds)

    def _ask_packed(self, payload: bytes, decode: bool, seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        return self.ask_on(self.take(seconds), payload, decode, deadline - time.monotonic())

    def ask_on(self, connection: Connection, payload: bytes, decode: bool, seconds: float) -> Any:
        """As `ask_within`, on a connection that `take` gave, which is given back."""
        deadline = time.monotonic() + seconds
        try:
            connection.wait_until(deadline)
            connection.send_within(payload, deadline)
            connection.sent = True
            reply = connection.read(decode, deadline)
        except BaseException:
            self.close(connection)
            raise
        if isinstance(reply, Exception) and refused(reply) is Failure.NOT_MASTER:
            self.close(connection)  # after UNBLOCKED Redis hangs up
            return reply
        self.give_back(connection)
        if not isinstance(reply, Exception):
            self.served()
        return reply

    def read(self, args: tuple[Any, ...], decode: bool, seconds: float) -> Any:
        """As `ask_within`, and count the reply, or error reply, in the load window."""
        payload = redis_py.pack(args)
        until = clock() + seconds
        if not self.idle:  # how long it takes to connect tells little of the replies to come
            self.give_back(self.take(seconds))
        asked = time.monotonic()
        if self.role is None:  # a replica's connections have half of the time, see `ShardBase`
            reply = self.ask(payload, decode, until)
        else:
            reply = self._ask_packed(payload, decode, until - clock())
        if not isinstance(reply, Exception) or is_answer(reply):
            took = time.monotonic() - asked
            self.window.succeeded(asked, took)
            self.meter.answered(took)
        return reply

    def ask_all(self, payload: bytes, decode: Sequence[bool], seconds: float) -> PartOutcome:
        """Send several packed commands and return their replies, error replies among them.

        Returns:
            An exception if no reply came.

        Raises:
            As `start`.
        """
        deadline = time.monotonic() + seconds
        return self.finish(self.start(payload, deadline), decode, deadline)

    ask_all_apart = ask_all  # each thread has its own connection

    def start(self, payload: bytes, deadline: float) -> Connection:
        """Send packed commands, and return the connection that `finish` reads the replies from.

        Connecting takes at most half of the time left, so that other shards can be asked too.

        Args:
            payload: the commands.
            deadline: by `time.monotonic`.

        Raises:
            NotSentError: there is no connection.
            OSError: the connection broke.
        """
        began = time.monotonic()
        connection = self.take((deadline - began) / 2)
        connection.began = began
        try:
            connection.send_within(payload, deadline)
        except BaseException:
            self.close(connection)
            raise
        return connection

    def finish(
        self, connection: Connection, decode: Sequence[bool], deadline: float
    ) -> PartOutcome:
        """Return the replies to what `start` sent, error replies among them; or why none came.

        Args:
            connection: that `start` gave; it is given back.
            decode: for each reply whether to decode it.
            deadline: by `time.monotonic`.
        """
        try:
            replies = connection.read_all(decode, max(deadline, time.monotonic() + _LAST_LOOK))
        except NOT_SERVED as error:
            self.close(connection)
            return error
        except BaseException:
            self.close(connection)
            raise
        self.meter.calls = calls = self.meter.calls + 1
        if not calls & SKIPPED:
            self.meter.timed(time.monotonic() - connection.began)
        self.give_back(connection)
        if self.doubted and not holds_error(replies):
            self.served()
        return replies

    def take(self, within: float | None = None) -> Connection:
        """Return an idle connection, or open one.

        Args:
            within: seconds to connect; None for the usual time.

        Raises:
            NotSentError: the instance cannot be connected to.
        """
        while True:
            try:
                connection = self.idle.pop()
            except IndexError:
                return self._unless_dropped(self.connect(within))
            if not connection.has_input():
                return connection
            self.close(connection)  # stale

    def _unless_dropped(self, connection: Connection) -> Connection:
        """Return a new connection; raise NotSentError if none may be used any more."""
        if self.dropped:
            self.close(connection)
            raise NotSentError("the connection was dropped")
        return connection

    def give_back(self, connection: Connection) -> None:
        """Take back a connection after an exchange that is done."""
        if self.dropped or connection.has_reply():
            self.close(connection)
        else:
            connection.wait_at_most(self.timeouts.reply)
            self.idle.append(connection)

    def _bound(self, connection: Connection) -> None:
        """Set the usual bound on a connection, that of now."""
        connection.timeouts = timeouts = self.timeouts
        connection.wait_at_most(timeouts.reply)

    def close(self, connection: Connection) -> None:
        """Close a connection for good."""
        with self._lock:
            self._connections.discard(connection)
        connection.close()

    def _adopt(self, redis_connection: Any) -> Connection:
        reader = redis_py.make_reader(self.template.connection_kwargs)
        connection = Connection(redis_connection, self.address, reader)
        self._bound(connection)
        with self._lock:
            self._connections.add(connection)
        return connection

    def _begin_probe(self) -> None:
        threading.Thread(target=self._probe, name="cachemesh-probe", daemon=True).start()

    def _probe_is_due(self, delay: float) -> bool:
        return not self._gone.wait(delay)

    def _ping(self, connection: Connection) -> Exception | None:
        try:
            connection.send(PING)
            reply = connection.read(True, time.monotonic() + PING_SECONDS)
        except NOT_SERVED as error:
            self.close(connection)
            return error
        self.give_back(connection)
        return reply if isinstance(reply, Exception) else None

    def drop(self, grace: float | None = None) -> None:
        """Close idle connections now, those in use as they come back.

        Args:
            grace: seconds after which those still in use are ended under their threads; None
                leaves them to their time limits.
        """
        self.dropped = True
        self._gone.set()
        self.close_idle()
        if grace is not None and self._connections:
            timer = threading.Timer(grace, self._shut)
            timer.daemon = True
            timer.start()

    def retire(self, successor: Instance) -> None:
        # In this order: a thread that connects sees the flag, or `drained` sees its connection.
        self.dropped = True
        self._gone.set()
        while self.idle:
            try:
                connection = self.idle.pop()
            except IndexError:
                break  # another thread was faster
            with self._lock:
                self._connections.discard(connection)
            with successor._lock:
                successor._connections.add(connection)
            successor.idle.append(connection)

    def drained(self, but: Collection[Any]) -> bool:
        self.close_idle()  # a thread may have given one back just then
        with self._lock:
            return all(connection in but for connection in self._connections)

    def close_idle(self) -> None:
        while self.idle:
            try:
                self.close(self.idle.pop())
            except IndexError:
                break  # another thread was faster

    def _shut(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.shut()
