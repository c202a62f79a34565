"""The core of a client for asyncio: how the route table is loaded, and what closing does."""

from __future__ import annotations

import asyncio

# sync: import math
# sync: import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from cachemesh._client.core import MeshCore
from cachemesh._client.migration_state import Stage
from cachemesh.core.errors import ConfigurationError
from cachemesh.core.placement.route_table import RouteTable
from cachemesh.core.planning.stuck_keys import STUCK_ERRORS, StuckError
from cachemesh.core.pool.topology import Topology
from cachemesh.core.rerouting import (
    ANEW,
    KeyHeldError,
    KeyMovingError,
    Pair,
    RerouteError,
    ShardRetiredError,
)
from cachemesh.discovery.url import MeshUrl
from cachemesh.transport import redis_py
from cachemesh.transport.aio import handshake
from cachemesh.transport.aio.instance import in_time, seen
from cachemesh.transport.aio.puller import Puller
from cachemesh.transport.aio.shard import ShardClient
from cachemesh.transport.lease_clock import clock


class Core(MeshCore[ShardClient]):
    """The core of a `cachemesh.asyncio.CacheMesh`."""

    if True:  # asyncio

        def __init__(self, url: MeshUrl, parent: Core | None) -> None:
            self.loop: asyncio.AbstractEventLoop | None = None  # in which all connections live
            self._loading: asyncio.Task[Topology] | None = None
            self._renewing: asyncio.Future[bool] | None = None
            self._closing: asyncio.Future[None] | None = None
            super().__init__(url, parent)

    def _make_shard(self, name: str) -> ShardClient:
        # sync: return ShardClient(name, self.pool, self.membership)
        assert self.loop is not None  # asyncio
        return ShardClient(name, self.pool, self.membership, self.loop)  # asyncio

    def topology(self) -> Topology:
        """Return the topology of now, by which this core routes.

        Raises:
            CacheMeshError, redis.ConnectionError: it is not loaded, and cannot be loaded from this
                event loop or thread.
        """
        # sync: return self.membership.topology()
        if True:  # asyncio: to load it takes an event loop
            if self.route_table is None or self._topology is None:
                raise ConfigurationError("No topology is loaded yet; await client.load() first")
        return self._topology  # asyncio

    async def load(self) -> Topology:
        """Return the topology of now, once this core routes by it; the first call loads it.

        Raises:
            CacheMeshError, redis.ConnectionError: it cannot be loaded, or not from this event loop
                or thread.
        """
        # sync: closings = self.closings
        # sync: return self.membership.deliver_to(lambda found: self.apply(found, closings))
        if True:  # asyncio: tasks that ask meanwhile share one attempt
            loop = asyncio.get_running_loop()
            loading = self._loading
            if loading is None or loading.done() or loading.get_loop() is not loop:
                loading = self._loading = loop.create_task(self._load(loop))
                loading.add_done_callback(seen)
        return await asyncio.shield(loading)  # asyncio

    if True:  # asyncio

        async def _load(self, loop: asyncio.AbstractEventLoop) -> Topology:
            closings = self.closings

            def begin(topology: Topology) -> None:
                former = self.loop
                if former is not loop:
                    if former is not None and former.is_running() and self.route_table is not None:
                        raise ConfigurationError(
                            "This client is in use in another event loop, which is running; make a "
                            "client for each loop, or close it there first"
                        )
                    self._abandon()
                    self.loop = loop
                self.apply(topology, closings)

            return await loop.run_in_executor(None, self.membership.deliver_to, begin)

    async def loaded(self) -> RouteTable[ShardClient]:
        """Return the route table; the first use loads the topology, and a metaserver is asked
        before if the lease is over.

        Raises:
            LeaseLostError: no metaserver answers, and the policy is not to serve then.
            CacheMeshError, redis.ConnectionError: as `load`.
        """
        while True:
            if self.route_table is not None and clock() > self.lease.until:
                await self._renew_lease()
            route_table = self.route_table
            # In this order, as the route table is set after the loop.  # asyncio
            # sync: if route_table is not None:
            if route_table is not None and self.loop is asyncio.get_running_loop():  # asyncio
                return route_table
            await self.load()

    async def _renew_lease(self) -> None:
        # sync: self._asked(self.membership.renew_lease(self._ask_seconds))
        if True:  # asyncio: tasks that ask meanwhile share one attempt
            loop = asyncio.get_running_loop()
            renewing = self._renewing
            if renewing is None or renewing.done() or renewing.get_loop() is not loop:
                ask = partial(self.membership.renew_lease, self._ask_seconds)
                renewing = asyncio.ensure_future(loop.run_in_executor(None, ask))
                self._renewing = renewing
            self._asked(await asyncio.shield(renewing))

    async def hold_over(self, deadline: float) -> None:
        """Wait until commands on keys that are about to move may be sent.

        Args:
            deadline: of `wait_until`.

        Raises:
            ShardTimeoutError: that takes longer.
        """
        hold, left = self._hold, max(0.0, deadline - time.monotonic())
        # sync: if hold is not None and not hold.gate.wait(None if left == math.inf else left):
        if hold is not None and not await _passed(hold.gate, left):  # asyncio
            raise self.still_held()

    async def read_moving(
        self, moving: KeyMovingError, args: tuple[Any, ...], decode: bool, deadline: float
    ) -> Any:
        """Return the reply to a read of a key that moves, and of that key alone.

        What the target has is current, whether or not the source has a copy yet. Where the target
        has nothing, what the source has is, for nobody has asked the target to write it. A shard
        gains none of the keys that leave it; so if the source has the key after it has answered, it
        had it before. If it has not, the key may have got to the target meanwhile.

        Returns:
            `ANEW` if the command is to be routed anew.

        Raises:
            As `await_route`, and the server's error.
        """
        (((source, target), (key, *_)),) = moving.keys.items()
        before: ShardClient = moving.stage.shards[source]
        after: ShardClient = moving.stage.shards[target]
        deadline, exists = time.monotonic() + after.limit, ("EXISTS", key)
        try:
            there, reply = await after.ask_all([exists, args], deadline, decode)
            if there == 0:
                reply, there = await before.ask_all([args, exists], deadline, decode)
                if there == 0:
                    (reply,) = await after.ask_all([args], deadline, decode)
        except ShardRetiredError:  # the stage is over
            return ANEW
        if isinstance(there, Exception):  # the app may not ask that
            await self.await_route(moving, deadline)
            return ANEW
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def await_route(
        self, error: RerouteError, deadline: float, in_part: bool = False
    ) -> None:
        """Wait until a command that was to be routed anew can be.

        Args:
            error: why it was not sent.
            deadline: of `wait_until`, when the command first had to wait.
            in_part: keys that cannot get to their shard leave the others some of the time.

        Raises:
            ShardUnavailableError: that takes longer, or a shard does not serve.
            redis.OutOfMemoryError: a shard that gains keys has no room for them.
        """
        if isinstance(error, KeyMovingError):
            await self._settle(error, deadline, in_part)
        elif isinstance(error, KeyHeldError):
            await self.hold_over(deadline)
        # else a shard was retired: by the route table of now the keys may well stay

    async def _settle(self, moving: KeyMovingError, deadline: float, in_part: bool) -> None:
        """Pull keys, unless the stage in which they move is over."""
        stage: Stage[ShardClient] = moving.stage
        failure: StuckError | None = None
        for at, (pair, keys) in enumerate(moving.keys.items()):
            now, puller, left = time.monotonic(), self._puller(stage, pair), set(keys)
            seconds = (deadline - now) / (len(moving.keys) - at if in_part else 1)
            try:
                # sync: puller.pull(left, now + seconds)
                if True:  # asyncio
                    await _pulled(puller, left, now + seconds)
            except ShardRetiredError:
                return
            except STUCK_ERRORS as error:
                failure = failure or error
            if arrived := [key for key in keys if key not in left]:
                self.note_settled(stage, pair[1], arrived)
            if failure is not None and not in_part:
                break
        if failure is not None:
            raise failure

    def _puller(self, stage: Stage[ShardClient], pair: Pair) -> Puller:
        puller: Puller | None = stage.pullers.get(pair)
        if puller is None:
            source, target = (stage.shards[name] for name in pair)
            made = Puller(source, target, partial(self.link, source, target))
            puller = stage.pullers.setdefault(pair, made)
        return puller

    def _gate(self) -> Any:
        # sync: return threading.Event()
        return asyncio.Event()  # asyncio

    def _open(self, gate: Any) -> None:
        # sync: gate.set()
        if True:  # asyncio
            if self.loop is not None and not self.loop.is_closed():
                self.loop.call_soon_threadsafe(gate.set)

    if True:  # asyncio

        def _retire(self, shards: Sequence[tuple[ShardClient, ShardClient]]) -> None:
            """Retire shards between two turns of the event loop, where all commands begin."""

            def retire() -> None:
                for former, successor in shards:
                    former.retire(successor)

            if self.loop is not None and not self.loop.is_closed():
                self.loop.call_soon_threadsafe(retire)

    if True:  # asyncio

        def drained(self) -> bool:
            """Return whether no command is under way any more that was routed before a hold.

            None is in an event loop that was closed: an app may have left its client there.
            """
            loop = self.loop
            return (loop is not None and loop.is_closed()) or super().drained()

    async def loaded_shards(self) -> Mapping[str, ShardClient]:
        """Return the shards of `loaded`, by name."""
        return (await self.loaded()).shards

    async def take_connection(self, shard: ShardClient) -> Any:
        """Return the client's own connection, connected to the master; None if the app set one."""
        connection = self.connection
        if connection is None or connection is not self.own_connection:
            return None
        if not redis_py.is_ready(connection, shard.master):
            await connection.disconnect()
            if not await handshake.reconnects(connection, shard.master):
                former, connection = connection, await self.pool.get_connection()
                self.connection = self.own_connection = connection
                await self.pool.release(former)
        return connection

    async def close(self) -> None:
        """Close all connections and follow the pool no more. A later use starts again."""
        connection, self.connection = self.connection, None
        if connection is not None:
            await self.pool.release(connection)
        # sync: self._close(at_once=True)
        if True:  # asyncio: nothing is left half closed if the caller is cancelled
            self._closing = asyncio.ensure_future(self._close())
            await asyncio.shield(self._closing)

    if True:  # asyncio

        async def _close(self) -> None:
            self.stop_measuring()
            loop = asyncio.get_running_loop()
            if self._parent is None:
                await loop.run_in_executor(None, self.leave_pool)
            if self.loop is not loop:
                self._abandon()
            self.closings += 1
            shards = self.drop_route_table()
            self._remember_retired(shards.values())  # others that follow the pool go on
            for shard in shards.values():
                await shard.close()

    # sync: def _close(self, at_once: bool) -> None:
    # sync:     self.leave_pool(at_once)
    # sync:     self.stop_measuring()
    # sync:     self.closings += 1
    # sync:     shards = self.drop_route_table()
    # sync:     self._remember_retired(shards.values())  # others that follow the pool go on
    # sync:     for shard in shards.values():
    # sync:         shard.close()

    if True:  # asyncio

        def _abandon(self) -> None:
            """Let go of the connections, whose event loop may be another, or closed."""
            for shard in self.drop_route_table().values():
                shard.abandon()
            self._retired = ()

        def after_fork(self) -> None:
            """In the child: leave connections, threads and the event loop to the parent."""
            super().after_fork()
            self.loop = None

    def __del__(self) -> None:
        if hasattr(self, "plain"):  # else the constructor failed
            # sync: self._close(at_once=False)
            self.leave_pool(at_once=False)  # asyncio
            self._abandon()  # asyncio


if True:  # asyncio

    async def _passed(gate: asyncio.Event, seconds: float) -> bool:
        """Wait at a gate; return whether it opened within so many seconds."""
        try:
            await in_time(gate.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _pulled(puller: Puller, left: set[bytes], deadline: float) -> None:
        """Pull keys, and wait for others who do no longer than until the deadline."""
        try:
            await in_time(puller.pull(left, deadline), deadline - time.monotonic())
        except TimeoutError as late:
            raise puller.still_moving() from late
