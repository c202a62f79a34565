"""The asyncio transport to one shard, for any number of tasks.

ShardClient (one shard) --- instance of the master --- connections
                 --- pool: redis-py connections, for WATCH and pub/sub
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import redis
from redis.asyncio.connection import ConnectionPool

from cachemesh.core.errors import CacheMeshError, ShardUnavailableError
from cachemesh.core.names import Address
from cachemesh.core.resilience.error_classification import (
    NOT_SERVED,
    Failure,
    NotSentError,
    WrongRoleError,
    failure_of,
    told_master,
)
from cachemesh.core.resilience.pipeline_part import PartOutcome, PipelinePart
from cachemesh.core.resilience.retry_loop import RetryLoop
from cachemesh.core.resilience.steps import FindMaster, Loop, Read, Send, Sleep, WaitForMaster
from cachemesh.transport import redis_py
from cachemesh.transport.aio import handshake
from cachemesh.transport.aio.connection import Connection
from cachemesh.transport.aio.instance import Instance, in_time, seen
from cachemesh.transport.aio.pool import ShardPool
from cachemesh.transport.master_locator import Locator
from cachemesh.transport.shard_base import PROMOTION_SECONDS, PROMOTION_STEP, ShardBase, ignore

_FIND_SECONDS = 1.0  # to ask Sentinel where the master is


class ShardClient(ShardBase[Instance]):
    """The connections to one shard. Finds the master, and sends again what may be sent again.

    Args:
        name: of the shard.
        template: connection options.
        locator: knows where the master is.
        loop: the event loop all connections live in.
    """

    _pool: ShardPool | None

    def __init__(
        self,
        name: str,
        template: ConnectionPool,
        locator: Locator,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(name, template, locator)
        self._blocked: set[Connection] = set()  # on which commands wait that block
        self._loop = loop
        self._seeking: asyncio.Task[None] | None = None
        self._awaiting_promotion: asyncio.Task[None] | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._moved: asyncio.Future[None] | None = None

    @property
    def pool(self) -> ShardPool:
        """A redis-py connection pool to this shard's master."""
        if self._pool is None:
            self._pool = ShardPool(
                self.name, self._template, lambda: self._timeouts, self._where, self.how_to_look
            )
        return self._pool

    async def _where(self, error: Exception | None) -> Address | None:
        """Return where the pool is to connect to; see `ShardPool`."""
        instance = self.instance
        if error is None and instance is not None:
            self._check_breaker(instance)
            return instance.address
        await self._find(instance, error or NotSentError(), _FIND_SECONDS, None)
        return self.master

    async def execute(self, args: tuple[Any, ...], retriable: bool, decode: bool = True) -> Any:
        """Send one command and return its reply, within the time limit for commands.

        A command that surely has not run (there is no connection, or the reply was READONLY,
        LOADING or the like) is sent again, to another master as soon as one is known. A command
        that may have run is sent again only if it is retriable.

        Args:
            args: the command, one word each argument.
            retriable: the command may run twice: it only reads, or the app has said so.
            decode: whether to decode the reply, if the client decodes replies at all.

        Raises:
            ShardUnavailableError: the master does not serve; ShardTimeoutError: not in time.
            redis.ResponseError: the error reply of the command.
            redis.DataError: an argument Redis has no form for.
        """
        began = time.monotonic()
        instance = self.instance
        try:
            if instance is None:
                raise NotSentError
            connection = instance.connection
            if connection is None or not connection.ready:
                reply = await instance.ask_within(args, decode, self.limit)
            else:
                reply = await connection.send(redis_py.pack(args), decode)
        except NOT_SERVED as error:
            return await self.again(args, retriable, decode, began, instance, error)
        if instance.doubted:
            instance.served()
        return reply

    async def again(
        self,
        args: tuple[Any, ...],
        retriable: bool,
        decode: bool,
        began: float,
        instance: Instance | None,
        error: Exception,
    ) -> Any:
        """Go on after a first attempt that failed or got an error reply. Raises as `execute`.

        Args:
            args, retriable, decode: as for `execute`.
            began: when the first attempt did, by `time.monotonic`.
            instance: that was asked; None if no master was known.
            error: of that attempt.
        """

        async def send(step: Send[Instance] | Read[Instance]) -> Any:
            return await step.instance.ask_within(args, decode, step.seconds)

        deadline = began + self.limit
        loop = RetryLoop(self, retriable, deadline, time.monotonic, random.random)
        return await self.drive(loop.again(args, instance, error), send)

    async def rest_again(
        self,
        part: PipelinePart,
        deadline: float,
        instance: Instance | None,
        outcome: PartOutcome,
    ) -> list[Any] | ShardUnavailableError:
        """Send a pipeline's leftovers again, after a first attempt with the whole part.

        Args:
            part: the commands for this shard.
            deadline: by `time.monotonic`.
            instance: that was asked; None if no master was known.
            outcome: of that attempt.

        Returns:
            The replies, error replies among them, or why the shard gave none.
        """

        async def send(step: Send[Instance] | Read[Instance]) -> Any:
            rest: PipelinePart = step.request
            return await step.instance.ask_all(rest.payload(), rest.decode, step.seconds)

        loop = RetryLoop(self, part.retriable, deadline, time.monotonic, random.random)
        result: list[Any] | ShardUnavailableError
        result = await self.drive(loop.rest_again(part, instance, outcome), send)
        return result

    async def execute_blocking(self, args: tuple[Any, ...], decode: bool, blocks: float) -> Any:
        """Send a command that may block on the server. Raises as `execute`.

        The command has a connection to itself, and is sent again only if it surely has not run.

        Args:
            args, decode: as for `execute`.
            blocks: seconds that the command may block, which its time limit does not count.
        """
        deadline = time.monotonic() + self.limit
        payload = redis_py.pack(args)
        instance = self.instance
        outcome: Any
        try:
            if instance is None:
                raise NotSentError
            outcome = await self._ask_apart(instance, payload, decode, self.limit + blocks)
        except NOT_SERVED as error:
            outcome = error
        if not isinstance(outcome, Exception):
            return outcome

        async def send(step: Send[Instance] | Read[Instance]) -> Any:
            return await self._ask_apart(step.instance, payload, decode, step.seconds)

        loop = RetryLoop(self, False, deadline, time.monotonic, random.random, blocks)
        return await self.drive(loop.again(args, instance, outcome), send)

    async def _ask_apart(
        self, instance: Instance, payload: bytes, decode: bool, seconds: float
    ) -> Any:
        """Send a command over a connection that it has to itself."""
        return await in_time(self._ask_alone(instance, payload, decode, seconds), seconds)

    async def _ask_alone(
        self, instance: Instance, payload: bytes, decode: bool, seconds: float
    ) -> Any:
        connection = await instance.take()
        if self.closed:
            connection.retire()
            raise NotSentError("the client was closed")
        connection.wait_at_most(seconds)
        self._blocked.add(connection)
        try:
            return await instance.ask_on(connection, payload, decode)
        finally:
            self._blocked.discard(connection)

    async def drive(
        self, loop: Loop, send: Callable[[Send[Instance] | Read[Instance]], Awaitable[Any]]
    ) -> Any:
        """Perform the steps of a loop, and return what the loop returns.

        Args:
            loop: of `cachemesh.core.resilience` or `cachemesh.core.reads`.
            send: performs the steps `Send` and `Read`.
        """
        outcome: Any = None
        while True:
            try:
                step = loop.send(outcome)
            except StopIteration as done:
                return done.value
            outcome = None
            if isinstance(step, FindMaster):
                self._seek(step.instance, step.error, step.seconds)
            elif isinstance(step, WaitForMaster):
                await self._wait_for_master(step.seen, step.seconds)
            elif isinstance(step, Sleep):
                await asyncio.sleep(step.seconds)
            else:
                try:
                    outcome = await send(step)
                except NOT_SERVED as error:
                    outcome = error

    async def _wait_for_master(self, seen: Address | None, seconds: float) -> None:
        """Wait until another master than ``seen`` is known, or so many seconds."""
        if self._moved is None:
            self._moved = self._loop.create_future()
        await asyncio.wait([self._moved], timeout=seconds)

    def _tell_moved(self) -> None:
        moved, self._moved = self._moved, None
        if moved is not None:
            moved.set_result(None)

    def _seek(
        self, instance: Instance | None, error: Exception, within: float | None = None
    ) -> None:
        """Have a task find the master, which arrives by `point_to`. One task is enough."""
        if self._seeking is None or self._seeking.done():
            work = self._find(instance, error, _FIND_SECONDS, None)
            self._seeking = self._loop.create_task(work)
            self._seeking.add_done_callback(seen)

    async def _find(
        self, instance: Instance | None, error: Exception, seconds: float, within: float | None
    ) -> None:
        """Find out where the master is; a new one arrives by `point_to`.

        A replica that answered a write names its master. If that instance says itself that it is a
        master, it is believed before Sentinel announces it.

        Args:
            instance: that failed; None if no master was known.
            error: of the attempt.
            seconds: how long to wait for Sentinel's answer.
            within: seconds for each connection made to ask an instance; None for the usual time.
        """
        former = None if instance is None else instance.address
        told: Address | None = None
        if former is not None and failure_of(error) is Failure.NOT_MASTER:
            told = told_master(error) or told_master(await self._why_no_master(former, within))
        if told is None or told == former or await self._why_no_master(told, within):
            await self._look_again(former, seconds)
        elif former is not None and self.master == former:
            self._locator.suggest(self.name, former, told)

    async def _why_no_master(self, address: Address, within: float | None) -> NotSentError | None:
        """Return why an instance cannot be written to; a replica's error names its master."""
        candidate = self._make(address, "master")
        try:
            candidate.give_back(await candidate.connect(within))
        except NotSentError as error:
            return error
        finally:
            candidate.drop()
        return None

    def _follow_promotion(self, former: Address, candidate: Address) -> None:
        def begin() -> None:
            work = self._await_promotion(former, candidate)
            self._awaiting_promotion = self._loop.create_task(work)
            self._awaiting_promotion.add_done_callback(seen)

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(begin)

    async def _await_promotion(self, former: Address, candidate: Address) -> None:
        """Ask the candidate for its role until it is the master.

        Sentinel kills all connections of an instance that it promotes, also this one.
        """
        limit = self._timeouts.connecting(None)
        options = {"socket_timeout": limit, "socket_connect_timeout": limit}
        deadline = time.monotonic() + PROMOTION_SECONDS
        connection: Any = None
        try:
            while self.master == former and not self.ended and time.monotonic() < deadline:
                try:
                    if connection is None:
                        connection = await handshake.connect(
                            self._template, candidate, options, None
                        )
                    await handshake.require_master(connection)
                except WrongRoleError:
                    await asyncio.sleep(PROMOTION_STEP)
                except (redis.RedisError, OSError):
                    connection = None
                    await asyncio.sleep(PROMOTION_STEP)
                except ReferenceError:
                    break  # the client is gone
                else:
                    self._locator.suggest(self.name, former, candidate)
        finally:
            if connection is not None:
                await connection.disconnect()

    async def _look_again(self, former: Address | None, seconds: float) -> None:
        look = self._locator.look_again
        try:
            await self._loop.run_in_executor(None, look, self.name, former, seconds)
        except (CacheMeshError, redis.RedisError, OSError):
            return  # as before: what the shard itself says counts

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
        noticed = ignore if role is None else self._seek
        timeouts = self.timeouts_for(role)
        return Instance(address, self._template, timeouts, role, noticed, self._loop)

    async def close(self) -> None:
        """Close all connections. Replies under way still come, but for commands that block."""
        self.ended = self.closed = True
        for connection in list(self._blocked):
            connection.shut()
        former, self.instance, self.replicas = (self.instance, *self.replicas), None, ()
        for instance in former:
            if instance is not None:
                await instance.close()
        tasks = [task for task in (self._seeking, self._awaiting_promotion) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._pool is not None:
            await self._pool.disconnect()

    def abandon(self) -> None:
        """Let go of all connections: the client goes on in another loop, or in a forked child."""
        former, self.instance, self.replicas = (self.instance, *self.replicas), None, ()
        for instance in former:
            if instance is not None:
                instance.abandon(self.forked)
