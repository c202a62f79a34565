"""The asyncio transport to one shard: the first attempt, and how tasks wait.

ShardClient -- Instance of the master -- one Connection for all tasks
            -- ShardPool: redis-py connections, for WATCH and pub/sub
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from redis.asyncio.connection import ConnectionPool

from cachemesh.core.names import Address
from cachemesh.core.resilience.error_classification import NOT_SERVED, NotSentError
from cachemesh.transport import redis_py
from cachemesh.transport.aio.instance import Instance, in_time, seen
from cachemesh.transport.aio.pool import ShardPool
from cachemesh.transport.aio.shard_retry import FIND_SECONDS, RetryingShard
from cachemesh.transport.instance_base import InstanceSpec
from cachemesh.transport.master_locator import MasterLocator


class ShardClient(RetryingShard):
    """The connections to one shard, for any number of tasks of one event loop.

    Args:
        name, template, locator: as of `ShardBase`.
        loop: the event loop all connections live in.
    """

    def __init__(
        self,
        name: str,
        template: ConnectionPool,
        locator: MasterLocator,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(name, template, locator)
        self._loop = loop
        self._seeking: asyncio.Task[None] | None = None
        self._awaiting_promotion: asyncio.Task[None] | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._moved: asyncio.Future[None] | None = None

    def successor(self) -> ShardClient:
        other = super().successor()
        other._seeking = other._awaiting_promotion = other._tidying = other._moved = None
        return other

    async def execute(self, args: tuple[Any, ...], retriable: bool, decode: bool = True) -> Any:
        """As `cachemesh.transport.sync.shard.ShardClient.execute`."""
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

    async def _ask_apart(
        self,
        instance: Instance,
        payload: bytes,
        decode: bool,
        seconds: float,
        keys: Sequence[bytes],
    ) -> Any:
        asking = super()._ask_apart(instance, payload, decode, seconds, keys)
        return await in_time(asking, seconds)

    async def _wait_for_master(self, seen: Address | None, seconds: float) -> None:
        if self._moved is None:
            self._moved = self._loop.create_future()
        await asyncio.wait([self._moved], timeout=seconds)

    def _tell_moved(self) -> None:
        moved, self._moved = self._moved, None
        if moved is not None:
            moved.set_result(None)

    def _seek(self, instance: Instance | None, error: Exception, left: float | None = None) -> None:
        """Have a task find the master, which arrives by `point_to`. One task is enough."""
        if self._seeking is None or self._seeking.done():
            work = self._find(instance, error, FIND_SECONDS, None)
            self._seeking = self._loop.create_task(work)
            self._seeking.add_done_callback(seen)

    def _follow_promotion(self, former: Address, candidate: Address) -> None:
        def begin() -> None:
            work = self._await_promotion(former, candidate)
            self._awaiting_promotion = self._loop.create_task(work)
            self._awaiting_promotion.add_done_callback(seen)

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(begin)

    async def _look_up_master(self, former: Address | None, seconds: float) -> None:
        look = self._locator.look_up_master
        await self._loop.run_in_executor(None, look, self.name, former, seconds)

    def _switched(self, grace: float | None) -> None:
        if self._loop.is_closed():
            return
        if grace is not None:
            self._loop.call_soon_threadsafe(self._tell_moved)
        if self._pool is not None:
            self._loop.call_soon_threadsafe(self._disconnect_idle, self._pool)

    def _disconnect_idle(self, pool: ShardPool) -> None:
        self._tidying = self._loop.create_task(pool.disconnect_idle())
        self._tidying.add_done_callback(seen)

    def _instance_of(self, spec: InstanceSpec) -> Instance:
        return Instance(spec, self._loop)

    async def close(self) -> None:
        """Close all connections. Replies under way still come, but for commands that block."""
        self.ended = self.closed = True
        self._end_blocked()
        master = () if self.instance is None else (self.instance,)
        former = (*master, *self.replicas)
        self._former = (*self._former, *former)  # first, for `drained`
        self.instance, self.replicas = None, ()
        for instance in former:
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
