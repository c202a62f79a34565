"""The asyncio transport: the way to one shard, for any number of tasks.

ShardClient (one shard) --- instance of the master --- links
                 --- pool: redis-py connections, for WATCH and pub/sub
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

import redis
from redis.asyncio.connection import ConnectionPool

from cachemesh.core.errors import CacheMeshError, ShardUnavailableError
from cachemesh.core.names import Address
from cachemesh.core.resilience.retry import Attempts, Failure, refused, retry_until
from cachemesh.transport import handshake, redis_py
from cachemesh.transport.aio.connection import Link, LinkClosedError
from cachemesh.transport.aio.instance import Instance, in_time, seen, send, send_all
from cachemesh.transport.aio.pool import ShardPool
from cachemesh.transport.failures import NOT_SERVED, NotSentError, failure_of, is_answer
from cachemesh.transport.master_locator import Locator
from cachemesh.transport.part import Outcome, Part, holds_error, unserved
from cachemesh.transport.shard_base import COURT_SECONDS, COURT_STEP, ShardBase, nobody

_FIND_SECONDS = 1.0  # to ask Sentinel where the master is


class ShardClient(ShardBase[Instance]):
    """The way to one shard, for asyncio. Tries again what may be tried again, as the sync one.

    Args:
        shard: its name.
        template: connection options.
        locator: knows where the master is.
        loop: the event loop all connections live in.
    """

    _pool: ShardPool | None

    def __init__(
        self,
        shard: str,
        template: ConnectionPool,
        locator: Locator,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(shard, template, locator)
        self._loop = loop
        self._blocked: set[Link] = set()  # on which commands wait that block
        self._seeking: asyncio.Task[None] | None = None
        self._courting: asyncio.Task[None] | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._moved: asyncio.Future[None] | None = None

    @property
    def pool(self) -> ShardPool:
        """A redis.asyncio connection pool to this shard's master."""
        if self._pool is None:
            self._pool = ShardPool(
                self.shard, self._template, lambda: self._timeouts, self._where, self.how_to_look
            )
        return self._pool

    async def _where(self, error: Exception | None) -> Address | None:
        instance = self.instance
        if error is None and instance is not None:
            self._check_breaker(instance)
            return instance.address
        await self._find(instance, error or NotSentError())
        return self.master

    def _set_master(self, master: Address | None, grace: float | None) -> None:
        super()._set_master(master, grace)
        if self._loop.is_closed():
            return
        if grace is not None:
            self._loop.call_soon_threadsafe(self._tell_moved)
        if self._pool is not None:
            self._loop.call_soon_threadsafe(self._disconnect_idle, self._pool)

    def _disconnect_idle(self, pool: ShardPool) -> None:
        self._tidying = self._loop.create_task(pool.disconnect_idle())
        self._tidying.add_done_callback(seen)

    def _make(self, address: Address, role: str | None) -> Instance:
        noticed = nobody if role is None else self._seek
        timeouts = self.timeouts_for(role)
        return Instance(address, self._template, timeouts, role, noticed, self._loop)

    async def close(self) -> None:
        """Close all connections. Replies under way still come, but for commands that block."""
        self.ended = self.closed = True
        for link in list(self._blocked):
            link.fail(LinkClosedError("Connection closed"))
        former, self.instance, self.replicas = (self.instance, *self.replicas), None, ()
        for instance in former:
            if instance is not None:
                await instance.close()
        tasks = [task for task in (self._seeking, self._courting) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._pool is not None:
            await self._pool.disconnect()

    def abandon(self) -> None:
        """The client goes on in another loop, or in a forked child."""
        former, self.instance, self.replicas = (self.instance, *self.replicas), None, ()
        for instance in former:
            if instance is not None:
                instance.abandon(self.forked)

    async def execute(self, args: tuple[Any, ...], repeatable: bool, decode: bool = True) -> Any:
        """Send one command and return its reply; as in the sync transport.

        Raises:
            ShardUnavailableError: the master does not serve; ShardTimeoutError: not in time.
            redis.ResponseError: the command was answered with an error.
            redis.DataError: an argument Redis has no form for.
        """
        began = time.monotonic()
        instance = self.instance
        try:
            if instance is None:
                raise NotSentError
            link = instance.link
            if link is None or not link.ready:
                reply = await send(instance, args, decode, self.limit)
            else:
                reply = await link.send(redis_py.pack(args), decode)
        except NOT_SERVED as error:
            return await self.again(args, repeatable, decode, began, instance, error)
        if instance.doubted:
            instance.served()
        return reply

    async def execute_late(self, args: tuple[Any, ...], decode: bool, began: float) -> Any:
        """As `execute`, for a command that only reads and ``began`` a while ago."""
        instance = self.instance
        try:
            if instance is None:
                raise NotSentError
            left = began + self.limit - time.monotonic()
            return await send(instance, args, decode, left)
        except NOT_SERVED as error:
            return await self.again(args, True, decode, began, instance, error)

    async def again(
        self,
        args: tuple[Any, ...],
        repeatable: bool,
        decode: bool,
        began: float,
        instance: Instance | None,
        error: Exception,
    ) -> Any:
        """Go on after a first attempt that failed, or was answered with an error.

        Args:
            began: when that attempt did, by `time.monotonic`.
        """
        deadline = began + self.limit
        attempts = Attempts(repeatable, retry_until(deadline, time.monotonic()))
        while True:
            if is_answer(error):
                raise error
            await self.settle(attempts, instance, error)
            instance = self.instance
            try:
                if instance is None:
                    raise NotSentError
                left = deadline - time.monotonic()
                reply = await send(instance, args, decode, left)
            except NOT_SERVED as failure:
                error = failure
            else:
                instance.served()
                return reply

    async def settle(self, attempts: Attempts, instance: Instance | None, error: Exception) -> None:
        """Return when it is time for the next attempt.

        Raises:
            ShardUnavailableError: there shall be none.
        """
        if isinstance(error, redis.DataError):
            raise error  # an argument that has no form; nothing was sent
        failure = failure_of(error)
        if failure is None or self.ended:
            self._raise(instance, error)
        if instance is not None and failure in (Failure.NO_REPLY, Failure.NOT_READY):
            instance.failed(failure)
        if instance is not None and failure is Failure.NOT_MASTER:
            instance.close_idle()  # it gets a write again only after it has said to be master
        moved = self.instance is not instance
        if not moved and failure is not Failure.BROKEN:
            self._seek(instance, error)
        if not moved and instance is not None and not instance.breaker.closed:
            self._raise(instance, error)
        pause = attempts.pause(failure, time.monotonic(), random.random())
        if pause is None:
            self._raise(instance, error)
        if pause and not moved:
            await self._wait_for_change(pause)

    async def _wait_for_change(self, seconds: float) -> None:
        if self._moved is None:
            self._moved = self._loop.create_future()
        await asyncio.wait([self._moved], timeout=seconds)

    def _tell_moved(self) -> None:
        moved, self._moved = self._moved, None
        if moved is not None:
            moved.set_result(None)

    def _seek(self, instance: Instance | None, error: Exception) -> None:
        """Have found out where the master is; a new one arrives by `point_to`."""
        if self._seeking is None or self._seeking.done():
            self._seeking = self._loop.create_task(self._find(instance, error))
            self._seeking.add_done_callback(seen)

    async def _find(self, instance: Instance | None, error: Exception) -> None:
        former = None if instance is None else instance.address
        told: Address | None = None
        if former is not None and failure_of(error) is Failure.NOT_MASTER:
            told = handshake.told_master(error) or handshake.told_master(
                await self._no_master(former)
            )
        if former is None or told is None or told == former or await self._no_master(told):
            await self._look_again(former)
        elif self.master == former:
            self._locator.suggest(self.shard, former, told)

    async def _no_master(self, address: Address) -> NotSentError | None:
        """Why an instance cannot be written to; a replica names its master."""
        candidate = self._make(address, "master")
        try:
            (await candidate.connect()).retire()
        except NotSentError as error:
            return error
        finally:
            candidate.drop()
        return None

    def _court(self, former: Address, candidate: Address) -> None:
        def begin() -> None:
            self._courting = self._loop.create_task(self._await_promotion(former, candidate))
            self._courting.add_done_callback(seen)

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(begin)

    async def _await_promotion(self, former: Address, candidate: Address) -> None:
        """Sentinel kills all connections of whom it promotes, this one too."""
        limit = self._timeouts.connecting(None)
        options = {"socket_timeout": limit, "socket_connect_timeout": limit}
        deadline = time.monotonic() + COURT_SECONDS
        connection: Any = None
        try:
            while self.master == former and not self.ended and time.monotonic() < deadline:
                try:
                    if connection is None:
                        connection = await redis_py.connect_async(
                            self._template, candidate, options, None
                        )
                    await handshake.require_master_async(connection)
                except handshake.NotMasterError:
                    await asyncio.sleep(COURT_STEP)
                except (redis.RedisError, OSError):
                    connection = None
                    await asyncio.sleep(COURT_STEP)
                else:
                    self._locator.suggest(self.shard, former, candidate)
        finally:
            if connection is not None:
                await connection.disconnect()

    async def _look_again(self, former: Address | None) -> Address | None:
        look = self._locator.look_again
        try:
            return await self._loop.run_in_executor(None, look, self.shard, former, _FIND_SECONDS)
        except (CacheMeshError, redis.RedisError, OSError):
            return former  # as before: what the shard itself says counts

    async def execute_blocking(self, args: tuple[Any, ...], decode: bool, patience: float) -> Any:
        """Send a command that may block on the server for ``patience`` seconds.

        It has a connection to itself, so that nobody waits behind it. It is sent again only if it
        surely has not run.

        Raises:
            As `execute`.
        """
        deadline = time.monotonic() + self.limit
        attempts: Attempts | None = None
        payload = redis_py.pack(args)
        while True:
            instance = self.instance
            try:
                if instance is None:
                    raise NotSentError
                left = deadline - time.monotonic() + patience
                reply = await in_time(self._alone(instance, payload, decode, left), left)
            except NOT_SERVED as error:
                if is_answer(error):
                    raise
                if attempts is None:
                    attempts = Attempts(False, retry_until(deadline, time.monotonic()))
                await self.settle(attempts, instance, error)
            else:
                instance.served()
                return reply

    async def _alone(self, instance: Instance, payload: bytes, decode: bool, seconds: float) -> Any:
        link = await instance.apart()
        if self.closed:
            link.retire()
            raise NotSentError("the client was closed")
        link.wait_at_most(seconds)
        self._blocked.add(link)
        try:
            reply = await link.send(payload, decode)
        except redis.ResponseError as error:
            if refused(error) is Failure.NOT_MASTER:
                link.retire()  # after UNBLOCKED Redis hangs up
            else:
                instance.put_back(link)
            raise
        except asyncio.CancelledError:
            link.fail(LinkClosedError("Cancelled"))  # else it would still pop what comes
            raise
        finally:
            self._blocked.discard(link)
        instance.put_back(link)
        return reply

    async def send_part(self, part: Part, payload: bytes) -> list[Any] | ShardUnavailableError:
        """A pipeline's part in one write; what has not run is sent again.

        Args:
            payload: the part packed.

        Returns:
            The replies, error replies among them, or why the shard gave none.
        """
        attempts: Attempts | None = None
        began = time.monotonic()
        replies: list[Any] = []
        places: Sequence[int] = range(len(part.commands))
        decode = part.decode
        while True:
            instance = self.instance
            outcome = await self._send_all(instance, payload, decode, began + self.limit)
            if isinstance(outcome, list):
                if attempts is None and not holds_error(outcome):
                    return outcome  # nearly always
                replies = replies or outcome
                for place, reply in zip(places, outcome, strict=True):
                    replies[place] = reply
                places = part.undone(replies)
                if not places:
                    return replies
                error = next(r for p in places if isinstance(r := replies[p], Exception))
            else:
                error = outcome
            if attempts is None:
                until = retry_until(began + self.limit, time.monotonic())
                attempts = Attempts(part.repeatable, until)
            try:
                await self.settle(attempts, instance, error)
            except ShardUnavailableError as final:
                return unserved(replies, places, final)
            rest = part.only(places)
            payload, decode = rest.payload(), rest.decode

    async def _send_all(
        self,
        instance: Instance | None,
        payload: bytes,
        decode: Sequence[bool],
        deadline: float,
    ) -> Outcome:
        try:
            if instance is None:
                raise NotSentError
            link = instance.link
            if link is None or not link.ready or instance.doubted:
                left = deadline - time.monotonic()
                replies = await send_all(instance, payload, decode, left)
                if not holds_error(replies):
                    instance.served()
                return replies
            return await link.send_all(payload, decode)
        except NOT_SERVED as error:
            return error
