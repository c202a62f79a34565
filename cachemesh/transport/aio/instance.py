"""asyncio connections to one redis-server, and whether it serves.

Instance --- link: shared by all tasks
         --- idle links, each for one command that blocks
         --- breaker: open means that commands fail at once, while a task probes
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.asyncio.connection import ConnectionPool

from cachemesh.core.names import Address
from cachemesh.core.reads.load_weights import Window
from cachemesh.core.resilience.circuit_breaker import Breaker
from cachemesh.core.resilience.retry import Failure, Timeouts, refused
from cachemesh.transport import redis_py
from cachemesh.transport.aio.connection import Link, LinkClosedError
from cachemesh.transport.failures import (
    NOT_SERVED,
    PING,
    PING_SECONDS,
    TELLING,
    BreakerOpenError,
    NotSentError,
    is_answer,
)


@dataclass(eq=False)
class Instance:
    """Connections to one redis-server. Lives in one event loop; `drop` may come from any thread.

    Args:
        address: of the server.
        template: connection options.
        timeouts: how long to wait.
        role: what it has to be, or None.
        noticed: told why a probe found that it does not serve.
        loop: the event loop all connections live in.
    """

    address: Address
    template: ConnectionPool
    timeouts: Timeouts
    role: str | None
    noticed: Callable[[Instance, Exception], None]
    loop: asyncio.AbstractEventLoop
    breaker: Breaker = field(default_factory=Breaker)
    window: Window = field(default_factory=Window)

    def __post_init__(self) -> None:
        self.link: Link | None = None
        self.dropped = False
        self.doubted = False
        self.probes = True
        self._idle: list[Link] = []  # for commands that block
        self._links: set[Link] = set()
        self._connecting: asyncio.Task[Link] | None = None
        self._probing: asyncio.Task[None] | None = None

    async def connected(self) -> Link:
        """The link that all share; those who ask meanwhile share one attempt.

        Raises:
            NotSentError: nobody to connect to.
            TimeoutError: it reads nothing any more.
        """
        while True:
            if self.dropped:
                raise NotSentError("the connection was dropped")
            link = self.link
            if link is None or link.closed:
                if self._connecting is None:
                    self._connecting = self.loop.create_task(self._connect_shared())
                    self._connecting.add_done_callback(self._connect_done)
                try:
                    link = await asyncio.shield(self._connecting)
                except NotSentError as error:  # to each task one of its own
                    raise copy(error) from error.__cause__
            await link.wait_writable()
            if not link.closed:
                return link
            if isinstance(link.why_closed, TimeoutError):
                raise copy(link.why_closed)

    async def connected_within(self, seconds: float) -> Link:
        """As `connected`, within so many seconds.

        Raises:
            NotSentError: also if it takes longer to connect. That is no failure of the instance
                yet: others wait for the same connection, and `connect` notes what becomes of it.
            TimeoutError: it reads nothing.
        """
        try:
            link: Link = await in_time(self.connected(), seconds)
        except TimeoutError:
            if self._connecting is None:
                raise
            late = TimeoutError("not connected in time")
            raise NotSentError(str(late)) from late
        return link

    def _connect_done(self, task: asyncio.Task[Link]) -> None:
        self._connecting = None
        seen(task)

    async def _connect_shared(self) -> Link:
        link = await self.connect()
        if self.dropped:
            link.retire()
        self.link = link
        return link

    async def apart(self) -> Link:
        """A link for one command alone; raises as `connected`."""
        while self._idle:
            link = self._idle.pop()
            if not link.closed:
                return link
        return await self.connect()

    def put_back(self, link: Link) -> None:
        """Take back what `apart` gave."""
        if self.dropped or link.closed:
            link.retire()
        else:
            self._idle.append(link)

    async def connect(self) -> Link:
        """A new link; raises as `connected`. While the breaker is open nobody waits for that."""
        if self.breaker.state != "closed":
            raise BreakerOpenError
        try:
            link = await self._connected()
        except (OSError, *redis_py.NOT_CONNECTED) as error:
            if not isinstance(error, TELLING):
                self.failed(Failure.NOT_SENT)
            raise NotSentError(str(error)) from error
        self.served()
        return link

    async def _connected(self) -> Link:
        limit = self.timeouts.connecting(None)
        options: dict[str, Any] = {"socket_timeout": limit, "socket_connect_timeout": limit}
        connection = await redis_py.connect_async(self.template, self.address, options, self.role)
        reader = redis_py.make_reader(self.template.connection_kwargs)
        link = Link(reader, self.timeouts.reply, self.loop, self.address, self._links.discard)
        link.take_over(connection)
        self._links.add(link)
        return link

    def served(self) -> None:
        """It does; called where that was in doubt. Only a probe closes a breaker that is open."""
        if self.doubted:
            self.doubted = not self.breaker.served()

    def failed(self, failure: Failure) -> None:
        """It does not; several of these in a row open the breaker."""
        self.doubted = True
        if not self.breaker.failed(self.loop.time()) or self.dropped or not self.probes:
            return
        if failure is not Failure.NOT_SENT:
            self.close_idle()  # each would cost its time again
        self._probing = self.loop.create_task(self._probe())
        self._probing.add_done_callback(seen)

    async def _probe(self) -> None:
        """Connect until it serves; no app waits for this."""
        try:
            while not self.dropped:
                await asyncio.sleep(self.breaker.pause(random.random()))
                self.breaker.probing()
                error = await self._try()
                if error is None:
                    return
                self.breaker.probe_failed()
                if not self.dropped:
                    self.noticed(self, error)
        finally:
            # Whatever else ended this, the next command may find out: nobody else probes.
            self.breaker.succeeded()
            self.doubted = False

    async def _try(self) -> Exception | None:
        """Why it does not serve."""
        try:
            link = await self._connected()
        except redis.ReadOnlyError as error:
            return error
        except (redis.AuthenticationError, redis.ResponseError) as error:
            # What it says to the handshake, the next command may hear as well.
            return error if refused(error) else None
        except (OSError, *redis_py.NOT_CONNECTED) as error:
            return error
        try:
            await in_time(_answer(link), PING_SECONDS)
        except NOT_SERVED as error:
            if not is_answer(error):
                link.fail(LinkClosedError("Probe failed"))
                return error
        if self.dropped or (self.link is not None and not self.link.closed):
            self.put_back(link)
        else:
            self.link = link
        return None

    def close_idle(self) -> None:
        """Have the next commands connect anew, and ask for the role again."""
        links, self.link, self._idle = [*self._idle, self.link], None, []
        for link in links:
            if link is not None:
                link.retire()

    def drop(self, grace: float | None = None) -> None:
        """Close links once the replies under way have come. From any thread.

        Args:
            grace: seconds after which no reply is waited for; None leaves them to their time limit.
        """
        self.dropped = True
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._end, grace)

    def _end(self, grace: float | None) -> None:
        if self._probing is not None:
            self._probing.cancel()
        self.close_idle()
        if grace is not None and self._links:
            self.loop.call_later(grace, self._fail_all)

    def _fail_all(self) -> None:
        for link in list(self._links):
            link.fail(LinkClosedError("Connection to a former master ended"))

    async def close(self) -> None:
        """Close all connections; replies under way still come."""
        self.dropped = True
        if self._connecting is not None:
            await asyncio.wait([self._connecting])
        self._end(None)
        if self._probing is not None:
            await asyncio.wait([self._probing])

    def abandon(self, forked: bool) -> None:
        """The client goes on in another loop, or in a forked child."""
        self.dropped = True
        links, self.link, self._idle = list(self._links), None, []
        for link in links:
            if forked or self.loop.is_closed():
                link.abandon(forked)
            else:
                self.loop.call_soon_threadsafe(link.retire)
        if self._probing is not None and not (forked or self.loop.is_closed()):
            self.loop.call_soon_threadsafe(self._probing.cancel)


async def _answer(link: Link) -> Any:
    return await link.send(PING)


async def send(instance: Instance, args: tuple[Any, ...], decode: bool, seconds: float) -> Any:
    """Send one command and return its reply, within so many seconds; raises one of `NOT_SERVED`."""
    until = time.monotonic() + seconds
    link = await instance.connected_within(seconds)
    # Packed as late as this, so that those who wait hold no copy of what they send.
    return await in_time(link.send(redis_py.pack(args), decode), until - time.monotonic())


async def send_all(
    instance: Instance, payload: bytes, decode: Sequence[bool], seconds: float
) -> list[Any]:
    """Send several packed commands and return their replies; raises as `send`."""
    until = time.monotonic() + seconds
    link = await instance.connected_within(seconds)
    replies: list[Any] = await in_time(link.send_all(payload, decode), until - time.monotonic())
    return replies


async def in_time(work: Awaitable[Any], seconds: float) -> Any:
    """What it returns.

    Unlike `asyncio.wait_for`, no cancellation is lost before Python 3.12.

    Raises:
        TimeoutError: it has not, and was cancelled.
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
    """Look at a task's exception, also when all who waited were cancelled."""
    if not task.cancelled():
        task.exception()
