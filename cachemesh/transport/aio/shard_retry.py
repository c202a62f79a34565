"""The attempts at one shard after the first one, over the asyncio transport.

The loops of `cachemesh.core` say what comes next; a `RetryingShard` performs their steps.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import redis

from cachemesh.core.errors import CacheMeshError
from cachemesh.core.names import Address
from cachemesh.core.planning.pipeline_parts import Part
from cachemesh.core.rerouting import ShardRetiredError
from cachemesh.core.resilience.error_classification import (
    NOT_SERVED,
    Failure,
    NotSentError,
    WrongRoleError,
    failure_of,
    is_answer,
    refused,
    told_master,
)
from cachemesh.core.resilience.pipeline_part import PartOutcome, RoutedPartResult
from cachemesh.core.resilience.retry import Timeouts
from cachemesh.core.resilience.retry_loop import RetryLoop
from cachemesh.core.resilience.steps import FindMaster, Loop, Send, Sleep, WaitForMaster
from cachemesh.transport import redis_py
from cachemesh.transport.aio import handshake
from cachemesh.transport.aio.instance import Instance
from cachemesh.transport.aio.pool import ShardPool
from cachemesh.transport.shard_base import ShardBase
from cachemesh.transport.shard_instances import PROMOTION_SECONDS, PROMOTION_STEP

FIND_SECONDS = 1.0
"""Seconds to ask Sentinel where the master is, for WATCH and pub/sub."""


class RetryingShard(ShardBase[Instance]):
    """Sends again what may be sent again, and finds the master. `ShardClient` says how to wait."""

    _pool: ShardPool | None

    @property
    def pool(self) -> ShardPool:
        """A redis-py connection pool to this shard's master."""
        if self._pool is None:
            if self._successor is not None:
                return self._successor.pool
            self._pool = ShardPool(
                self.name, self._template, self.timeouts_now, self.where, self.advice
            )
        return self._pool

    def timeouts_now(self) -> Timeouts:
        """Return the timeouts of now."""
        return self._timeouts

    async def where(self, error: Exception | None) -> Address | None:
        """Return where the pool is to connect to; see `ShardPool`."""
        instance = self.instance
        if error is None and instance is not None:
            self._check_breaker(instance)
            return instance.address
        if self._successor is not None:  # which has the same master
            return await self._successor.where(error)
        await self._find(instance, error or NotSentError(), FIND_SECONDS, None)
        return self.master

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

        async def send(step: Send[Instance]) -> Any:
            return await step.instance.ask_within(args, decode, step.seconds)

        deadline = began + self.limit
        loop = RetryLoop(self, retriable, deadline, time.monotonic, random.random)
        reply = await self.drive(loop.again(args, instance, error), send)
        self.quality.answered(time.monotonic() - began)
        return reply

    async def rest_again(
        self,
        part: Part,
        deadline: float,
        instance: Instance | None,
        outcome: PartOutcome,
    ) -> RoutedPartResult:
        """Send a pipeline's leftovers again, after a first attempt with the whole part.

        Args:
            part: the commands for this shard.
            deadline: by `time.monotonic`.
            instance: that was asked; None if no master was known.
            outcome: of that attempt.

        Returns:
            The replies, error replies among them, or why the shard gave none; `ShardRetiredError`
            if nothing has run and the whole part has to be routed anew.
        """

        async def send(step: Send[Instance]) -> Any:
            rest: Part = step.request
            return await step.instance.ask_all(rest.payload(), rest.decode, step.seconds)

        loop = RetryLoop(self, part.retriable, deadline, time.monotonic, random.random)
        try:
            result: RoutedPartResult = await self.drive(
                loop.rest_again(part, instance, outcome), send
            )
        except ShardRetiredError as error:
            if isinstance(outcome, NotSentError):  # nothing of the part has run
                return error
            return self.unavailable(None, NotSentError(str(error)))
        return result

    async def execute_blocking(
        self, args: tuple[Any, ...], decode: bool, blocks: float, keys: Sequence[bytes] = ()
    ) -> Any:
        """Send a command that may block on the server. Raises as `execute`.

        The command has a connection to itself, and is sent again only if it surely has not run.

        Args:
            args, decode: as for `execute`.
            blocks: seconds that the command may block, which its time limit does not count.
            keys: that it waits for.
        """
        deadline = time.monotonic() + self.limit
        payload = redis_py.pack(args)
        instance = self.instance
        outcome: Any
        try:
            if instance is None:
                raise NotSentError
            outcome = await self._ask_apart(instance, payload, decode, self.limit + blocks, keys)
        except NOT_SERVED as error:
            outcome = error
        if not isinstance(outcome, Exception):
            return outcome

        async def send(step: Send[Instance]) -> Any:
            return await self._ask_apart(step.instance, payload, decode, step.seconds, keys)

        loop = RetryLoop(self, False, deadline, time.monotonic, random.random, blocks)
        return await self.drive(loop.again(args, instance, outcome), send)

    async def ask_apart(
        self, commands: Sequence[tuple[Any, ...]], deadline: float, lost: list[Exception]
    ) -> list[Any]:
        """As `ask_all`, over a connection that the commands have to themselves: they may block."""
        return await self.ask_all(commands, deadline, apart=True, lost=lost)

    async def ask_all(
        self,
        commands: Sequence[tuple[Any, ...]],
        deadline: float,
        decode: bool = False,
        apart: bool = False,
        lost: list[Exception] | None = None,
    ) -> list[Any]:
        """Send commands that may run twice, in one write.

        Args:
            commands: in this order.
            deadline: by `time.monotonic`.
            decode: whether to decode the replies, if the client decodes replies at all.
            apart: as `ask_apart`.
            lost: gets the errors of attempts after which the commands may have run.

        Returns:
            The replies, error replies among them; none of them says that the instance does not
            serve.

        Raises:
            ShardRetiredError: a resize has begun since this shard was found.
            ShardUnavailableError: the shard does not serve.
        """
        payload, decoded = redis_py.pack_all(commands), [decode] * len(commands)

        async def ask(instance: Instance, seconds: float) -> list[Any]:
            send_all = instance.ask_all_apart if apart else instance.ask_all
            try:
                replies: Any = await send_all(payload, decoded, seconds)
                # sync: if isinstance(replies, Exception):
                # sync:     raise replies
            except NOT_SERVED as error:
                if lost is not None and failure_of(error) in (Failure.BROKEN, Failure.NO_REPLY):
                    lost.append(error)
                raise
            for reply in replies:
                if isinstance(reply, Exception) and refused(reply) is not None:
                    raise reply
            return list(replies)

        async def send(step: Send[Instance]) -> Any:
            return await ask(step.instance, step.seconds)

        instance = self.instance
        try:
            if instance is None:
                raise NotSentError
            return await ask(instance, deadline - time.monotonic())
        except NOT_SERVED as error:
            loop = RetryLoop(self, True, deadline, time.monotonic, random.random)
            replies: list[Any] = await self.drive(loop.again(commands, instance, error), send)
            return replies

    async def _ask_apart(
        self,
        instance: Instance,
        payload: bytes,
        decode: bool,
        seconds: float,
        keys: Sequence[bytes],
    ) -> Any:
        """Send a command over a connection that it has to itself.

        Raises:
            ShardRetiredError: its keys have left, or may be about to: a server from Redis 7.2 on
                answers XREADGROUP with an error as the stream is removed there.
        """
        connection = await instance.take(seconds)
        connection.sent = False  # until then `drained` waits for it
        self._blocked[connection] = keys
        try:
            if self.closed:  # before `close` could see the connection
                connection.shut()
            return await instance.ask_on(connection, payload, decode, seconds)  # asyncio
            # sync: reply = instance.ask_on(connection, payload, decode, seconds)
            # sync: if self.retired and isinstance(reply, Exception) and is_answer(reply):
            # sync:     raise ShardRetiredError from reply
            # sync: return reply
        except NOT_SERVED as error:
            if self.retired if is_answer(error) else connection in self._unblocked:
                raise ShardRetiredError from error
            raise
        finally:
            self._blocked.pop(connection, None)
            self._unblocked.discard(connection)

    async def drive(self, loop: Loop, send: Callable[[Send[Instance]], Awaitable[Any]]) -> Any:
        """Perform the steps of a loop, and return what the loop returns.

        Args:
            loop: of `cachemesh.core.resilience` or `cachemesh.core.reads`.
            send: performs the steps `Send`, `Read` among them.
        """
        outcome: Any = None
        while True:
            try:
                step = loop.send(outcome)
            except StopIteration as done:
                return done.value
            if self.retired:  # what has not run, or may run again, has another place now
                raise ShardRetiredError
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
        raise NotImplementedError

    async def _look_up_master(self, former: Address | None, seconds: float) -> None:
        """Ask Sentinel where the master is, because ``former`` did not serve.

        Raises:
            CacheMeshError, redis.RedisError, OSError: nobody answers.
        """
        raise NotImplementedError

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
            try:
                await self._look_up_master(former, seconds)
            except (CacheMeshError, redis.RedisError, OSError):
                return  # as before: what the shard itself says counts
        elif former is not None and self.master == former:
            self._locator.report_master(self.name, former, told)

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
                    self._locator.report_master(self.name, former, candidate)
        finally:
            if connection is not None:
                await connection.disconnect()
