"""Blocking connections to one redis-server, and whether it serves.

    Instance --- idle links (a stack) ---> Link
             --- breaker: open means that commands fail at once, while a thread probes

A link is held by one thread for one exchange. Whatever interrupts an exchange closes the link, so
a reply can never be read by the next command.
"""

from __future__ import annotations

import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.connection import ConnectionPool

from cachemesh.core.names import Address
from cachemesh.core.reads.load_weights import Window
from cachemesh.core.resilience.circuit_breaker import Breaker
from cachemesh.core.resilience.retry import Failure, Timeouts, refused
from cachemesh.transport import redis_py
from cachemesh.transport.failures import (
    NOT_SERVED,
    PING,
    PING_SECONDS,
    TELLING,
    BreakerOpenError,
    NotSentError,
    is_answer,
)
from cachemesh.transport.redis_py import MORE, PUSH
from cachemesh.transport.sync.connection import LUMP, READ_SIZE, Link


@dataclass(eq=False)
class Instance:
    """Connections to one redis-server. Threads may share it.

    Args:
        address: of the server.
        template: connection options.
        timeouts: how long to wait.
        role: what it has to be, or None.
        noticed: told why a probe found that it does not serve.
    """

    address: Address
    template: ConnectionPool
    timeouts: Timeouts
    role: str | None
    noticed: Callable[[Instance, Exception], None]
    breaker: Breaker = field(default_factory=Breaker)
    window: Window = field(default_factory=Window)

    def __post_init__(self) -> None:
        self.idle: deque[Link] = deque()
        self.dropped = False
        self.doubted = False
        self.probes = True
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._gone = threading.Event()

    def ask(self, payload: bytes, decode: bool, deadline: float) -> Any:
        """Send one packed command and return its reply; an error reply is returned, not raised.

        Raises:
            NotSentError: nobody to send to.
            OSError, redis.RedisError, MemoryError: no reply came.
        """
        try:
            link = self.idle.pop()
        except IndexError:
            return self.ask_within(payload, decode, deadline - time.monotonic())
        if len(payload) > LUMP or link.has_input():
            self.give_back(link)
            return self.ask_within(payload, decode, deadline - time.monotonic())
        try:
            link.send(payload)
            data = link.recv(READ_SIZE)
            if data:
                link.feed(data)
            reply = link.gets(decode)
            if reply is MORE or reply.__class__ is PUSH:
                reply = link.read(decode, deadline)
                link.wait_at_most(self.timeouts.reply)
        except (TypeError, ValueError) as error:
            self.close(link)
            redis_py.raise_unreadable(error)
        except BaseException:
            self.close(link)
            raise
        if self.dropped or link.has_reply():
            self.close(link)
        else:
            self.idle.append(link)
        if self.doubted and not isinstance(reply, Exception):
            self.served()
        return reply

    def ask_within(self, payload: bytes, decode: bool, seconds: float) -> Any:
        """As `ask`, when less than the usual time is left, or more."""
        deadline = time.monotonic() + seconds
        return self.ask_on(self.take(seconds), payload, decode, deadline - time.monotonic())

    def ask_on(self, link: Link, payload: bytes, decode: bool, seconds: float) -> Any:
        """As `ask_within`, on a link that `take` gave, which is given back."""
        deadline = time.monotonic() + seconds
        try:
            link.wait_until(deadline)
            link.send_within(payload, deadline)
            reply = link.read(decode, deadline)
        except BaseException:
            self.close(link)
            raise
        if isinstance(reply, Exception) and refused(reply) is Failure.NOT_MASTER:
            self.close(link)  # after UNBLOCKED Redis hangs up
            return reply
        self.give_back(link)
        if not isinstance(reply, Exception):
            self.served()
        return reply

    def take(self, within: float | None = None) -> Link:
        """An idle link, or a new one.

        Args:
            within: seconds to connect.

        Raises:
            NotSentError: nobody to connect to.
        """
        while True:
            try:
                link = self.idle.pop()
            except IndexError:
                return self.connect(within)
            if not link.has_input():
                return link
            self.close(link)  # stale

    def give_back(self, link: Link) -> None:
        """After an exchange that is done."""
        if self.dropped or link.has_reply():
            self.close(link)
        else:
            link.wait_at_most(self.timeouts.reply)
            self.idle.append(link)

    def close(self, link: Link) -> None:
        """Close a link for good."""
        with self._lock:
            self._links.discard(link)
        link.close()

    def connect(self, within: float | None = None) -> Link:
        """A new link; raises as `take`. While the breaker is open nobody waits for that."""
        if self.breaker.state != "closed":
            raise BreakerOpenError
        try:
            link = self._connected(within)
        except (OSError, *redis_py.NOT_CONNECTED) as error:
            timed_out = isinstance(error, (TimeoutError, redis.TimeoutError))
            if not (isinstance(error, TELLING) or (timed_out and self.timeouts.hurried(within))):
                self.failed(Failure.NOT_SENT)
            raise NotSentError(str(error)) from error
        self.served()
        return link

    def _connected(self, within: float | None) -> Link:
        limit = self.timeouts.connecting(within)
        options = {"socket_timeout": limit, "socket_connect_timeout": limit}
        connection = redis_py.connect(self.template, self.address, options, self.role)
        reader = redis_py.make_reader(self.template.connection_kwargs)
        link = Link(connection, self.address, reader)
        link.wait_at_most(self.timeouts.reply)
        with self._lock:
            self._links.add(link)
        return link

    def served(self) -> None:
        """It does; called where that was in doubt. Only a probe closes a breaker that is open."""
        if self.doubted:
            with self._lock:
                self.doubted = not self.breaker.served()

    def failed(self, failure: Failure) -> None:
        """It does not; several of these in a row open the breaker."""
        with self._lock:
            opened = self.breaker.failed(time.monotonic())
            self.doubted = True
        if not (opened and self.probes):
            return
        if failure is not Failure.NOT_SENT:
            self.close_idle()  # each would cost its time again
        threading.Thread(target=self._probe, name="cachemesh-probe", daemon=True).start()

    def _probe(self) -> None:
        """Body of a thread: connect until it serves; no app waits for this."""
        error: Exception | None = None
        try:
            while not self._gone.wait(self.breaker.pause(random.random())):
                with self._lock:
                    self.breaker.probing()
                error = self._try()
                if error is None:
                    return
                with self._lock:
                    self.breaker.probe_failed()
                if not self.dropped:
                    self.noticed(self, error)
        finally:
            # Whatever else ended this, the next command may find out: nobody else probes.
            with self._lock:
                self.breaker.succeeded()
                self.doubted = False

    def _try(self) -> Exception | None:
        """Why it does not serve."""
        try:
            link = self._connected(None)
        except redis.ReadOnlyError as error:
            return error
        except (redis.AuthenticationError, redis.ResponseError) as error:
            # What it says to the handshake, the next command may hear as well.
            return error if refused(error) else None
        except (*redis_py.NOT_CONNECTED, OSError) as error:
            return error
        try:
            link.send(PING)
            reply = link.read(True, time.monotonic() + PING_SECONDS)
        except NOT_SERVED as error:
            self.close(link)
            return error
        self.give_back(link)
        return reply if isinstance(reply, Exception) and not is_answer(reply) else None

    def drop(self, grace: float | None = None) -> None:
        """Close idle links now, those in use as they come back.

        Args:
            grace: seconds after which those still in use are ended under their threads; None
                leaves them to their time limits.
        """
        self.dropped = True
        self._gone.set()
        self.close_idle()
        if grace is not None and self._links:
            timer = threading.Timer(grace, self._shut)
            timer.daemon = True
            timer.start()

    def close_idle(self) -> None:
        """Have the next commands connect anew, and ask for the role again. From any thread."""
        while self.idle:
            try:
                self.close(self.idle.pop())
            except IndexError:
                break  # another thread was faster

    def _shut(self) -> None:
        with self._lock:
            links = list(self._links)
        for link in links:
            link.shut()
