"""Pipelines over shards: one write and one read per shard, replies in the caller's order."""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import redis
from redis.asyncio.client import Pipeline as RedisPipeline
from redis.client import NEVER_DECODE
from redis.client import Pipeline as SyncPipeline

from cachemesh._client.pipelining import (
    PipelineBase,
    finished,
    raise_first,
    require_watching,
    unrouted,
)
from cachemesh.core.errors import FencedError, ShardUnavailableError
from cachemesh.core.planning.pipeline import NO_PLANS
from cachemesh.core.planning.pipeline_parts import Part, Stack, one_shard, spread
from cachemesh.core.planning.plan import UnknownCommandError
from cachemesh.core.planning.stuck_keys import STUCK, STUCK_ERRORS, StuckError, plans_apart
from cachemesh.core.rerouting import KeyHeldError, RerouteError, ShardRetiredError
from cachemesh.core.resilience.pipeline_part import RoutedPartResult
from cachemesh.transport import redis_py
from cachemesh.transport.aio.scatter_gather import send_parts
from cachemesh.transport.aio.shard import ShardClient
from cachemesh.transport.read_deadline import in_all

if TYPE_CHECKING:
    from cachemesh.asyncio.client import CacheMesh

_ATTEMPTS = 3  # at a WATCH: one is cut off, one finds the client fenced, one knows the shard of now


class Pipeline(PipelineBase, RedisPipeline):  # type: ignore[misc]  # redis-py's own clash
    """A redis-py pipeline over the shards of a pool.

    All commands on one shard behave as in redis-py, WATCH and MULTI included. Commands on several
    shards are sent to all at once; there, each shard runs its part in a MULTI of its own unless
    ``transaction`` is False, and ``transaction=True`` is refused.

    Args:
        mesh: the client.
        transaction: True: all or nothing, on one shard only. False: no MULTI. None: a MULTI for
            each shard.
        shard_hint: not used.
    """

    def __init__(self, mesh: CacheMesh, transaction: bool | None, shard_hint: str | None) -> None:
        self._atomic = transaction is not False
        self._one_shard_only = transaction is True
        self._mesh, self._core = mesh, mesh._core
        self._encodes = mesh.encodes
        self._home: ShardClient | None = None
        super().__init__(mesh.connection_pool, mesh.response_callbacks, self._atomic, shard_hint)

    async def reset(self) -> None:  # type: ignore[override]  # redis-py's own pipeline does
        """Forget what was queued and what is watched."""
        reset: Any = super().reset  # untyped in redis-py
        try:
            if self.watching and self.connection and self._home:
                try:
                    async with self._in_time(self._home):
                        await reset()
                except redis.TimeoutError:  # the connection is closed: it watches nothing any more
                    self.watching = False
            await reset()
        finally:
            if self._home is not None:
                await self._leave(self._home)

    async def _leave(self, home: ShardClient) -> None:
        """Let go of the shard that was watched or was to be, and of the connection to it.

        A resize waits for this pipeline no more. The connection watches nothing, or is closed.
        """
        connection, self.connection = self.connection, None
        self._home, self.watching = None, False
        home.watching.discard(self)
        if connection is not None:
            await self.connection_pool.release(connection)

    @asynccontextmanager
    async def _in_time(self, home: ShardClient) -> AsyncIterator[None]:
        deadline = time.monotonic() + home.limit
        if self.connection is None:
            self.connection = await home.pool.get_connection()
        with in_all(self.connection, deadline - time.monotonic()):
            yield

    async def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command now, on the shard that is being watched.

        The first WATCH changes nothing, so it is sent again where its connection breaks.
        """
        immediate: Any = super().immediate_execute_command  # untyped in redis-py
        attempts = _ATTEMPTS if args[0] == "WATCH" and not self.watching else 1
        try:
            require_watching(self)
            while True:
                attempts -= 1
                home = await self._joined([args])
                try:
                    async with self._in_time(home):
                        return await immediate(*args, **options)
                except FencedError as error:
                    if not attempts or not self._core.acts_on(error.wanted):
                        raise
                except redis_py.BROKEN as error:
                    if self._home is None or type(error) not in redis_py.BROKEN:
                        raise  # the server's answer
                    if not attempts or home.closed or type(error) is not redis.ConnectionError:
                        raise home.unavailable(None, error) from error
        finally:
            if self._home is not None:
                self._mesh.wrote_to(self._home)
                if not self.watching:  # after UNWATCH, or a WATCH that failed
                    await self._leave(self._home)

    if True:  # asyncio

        def annotate_exception(
            self, exception: Exception, number: int, command: Iterable[object]
        ) -> None:
            """Say which command it was, in the words of the sync pipeline.

            redis-py's own shows a tuple in place of the reason, and before 7.0 no reason at all.
            """
            annotate: Any = SyncPipeline.annotate_exception
            annotate(self, exception, number, command)

    async def load_scripts(self) -> None:
        """Make sure that all shards know the scripts this pipeline runs."""
        for script in self.scripts:
            if not (await self._mesh.script_exists(script.sha))[0]:
                script.sha = await self._mesh.script_load(script.script)

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Run what was queued.

        Raises:
            cachemesh.CrossShardError: a transaction over several shards; nothing was sent.
            cachemesh.ShardUnavailableError: a shard does not answer; with ``raise_on_error``
                False it stands in the list instead, for each command of that shard.
            redis.ResponseError: the first error reply, with ``raise_on_error``.
            redis.WatchError: a watched key has changed.
        """
        stack = self.command_stack
        if not stack and not self.watching:
            return []
        try:
            if self.scripts:
                await self.load_scripts()
                self.scripts = set()
            require_watching(self)
            commands = [args for args, _ in stack]
            if self.watching or self.explicit_transaction:
                return await self._in_one_shard(commands, raise_on_error)
            if self._one_shard_only:
                await self._bound(commands)
            return await self._over_shards(raise_on_error)
        finally:
            await self.reset()

    async def _joined(self, commands: Sequence[tuple[Any, ...]]) -> ShardClient:
        """As `_bound`; from then on a resize waits for this pipeline, until it is reset."""
        while True:
            home = await self._bound(commands)
            if self in home.watching:
                return home
            # In this order: a resize waits for this pipeline, or this pipeline sees the resize.
            home.watching.add(self)
            if not home.retired:
                return home

    async def _bound(self, commands: Sequence[tuple[Any, ...]]) -> ShardClient:
        """As `_bind`, once no key of the commands is about to move.

        Raises:
            redis.WatchError: keys are watched on a shard that loses some in a resize.
            cachemesh.ShardTimeoutError: a resize does not go on.
        """
        deadline: float | None = None
        while True:
            if self._home is not None:
                if not self.watching:  # bound before, where the keys may have been
                    await self._leave(self._home)
                elif self._home.retired:
                    await self._end_watching()
            try:
                home = await self._bind(commands)
            except RerouteError as error:
                if self.watching and isinstance(error, KeyHeldError):
                    await self._end_watching()  # the resize would wait for it, too
                deadline = self._core.wait_until() if deadline is None else deadline
                await self._core.await_route(error, deadline)
                continue
            if home in (await self._core.loaded()).shards.values() or self.watching:
                return home

    async def _end_watching(self) -> NoReturn:
        await self.reset()  # what watches next finds the shard of now
        raise redis.WatchError("A resize of the pool has begun; watch the keys anew")

    async def _bind(self, commands: Sequence[tuple[Any, ...]]) -> ShardClient:
        """Settle on the one shard that all keys are on."""
        route_table = await self._core.loaded()
        watched = self._home.name if self._home is not None else None
        registry, plans = self._core.registry, await self._mesh.plans_of(commands, route_table)
        shard = one_shard(commands, route_table.placement, watched, registry, plans)
        if self._home is None:
            self._home = route_table.shards[shard]
            self.connection_pool = self._home.pool
        return self._home

    async def _in_one_shard(
        self, commands: Sequence[tuple[Any, ...]], raise_on_error: bool
    ) -> list[Any]:
        home = await self._joined(commands)
        try:
            return await self._sent_to(home, raise_on_error)
        except FencedError as error:  # nothing was sent
            if not self._core.acts_on(error.wanted):
                raise
            return await self._sent_to(await self._joined(commands), raise_on_error)

    async def _sent_to(self, home: ShardClient, raise_on_error: bool) -> list[Any]:
        watched = self.watching  # redis-py's pipeline resets itself
        try:
            async with self._in_time(home):
                return await super().execute(raise_on_error)
        except redis.ReadOnlyError as error:
            if not watched:
                raise
            raise redis.WatchError(  # nothing has run, and nobody watches the new master
                f"Shard {home.name!r} has another master; watch the keys anew"
            ) from error
        except redis_py.BROKEN as error:
            if type(error) not in redis_py.BROKEN:
                raise  # the server's answer
            raise home.unavailable(None, error) from error
        finally:
            self._mesh.wrote_to(home)

    async def _over_shards(self, raise_on_error: bool) -> list[Any]:
        stack: Stack = self.command_stack
        in_part = self._mesh._policy.misses or not raise_on_error
        replies = await self._routed(stack, in_part and not self._one_shard_only)
        if replies is None:  # some commands run on any shard
            return await self._in_one_shard([args for args, _ in stack], raise_on_error)
        finals = finished(replies, stack, self.response_callbacks, self.annotate_exception)
        if True:  # asyncio
            for at, final in enumerate(finals):
                if inspect.isawaitable(final):
                    finals[at] = await final
        if raise_on_error:
            raise_first(finals, stack, self.annotate_exception)
        return finals

    async def _routed(self, stack: Stack, in_part: bool) -> list[Any] | None:
        """As `_spread`, once no key of the commands is about to move.

        Args:
            stack: the commands.
            in_part: those whose keys cannot get to their shard fail alone.
        """
        failure: StuckError | None = None
        deadline: float | None = None
        while True:
            try:
                return await self._spread(stack, in_part, failure)
            except RerouteError as error:
                if failure is not None and not isinstance(error, ShardRetiredError):
                    raise failure from error
                deadline = self._core.wait_until() if deadline is None else deadline
                try:
                    await self._core.await_route(error, deadline, in_part)
                except STUCK_ERRORS as stuck:
                    if not in_part:
                        raise
                    failure = stuck

    async def _spread(
        self, stack: Stack, in_part: bool, failure: StuckError | None
    ) -> list[Any] | None:
        """Send commands to the shards of their keys, and return the reply of each.

        Args:
            stack, in_part: as of `_routed`.
            failure: why keys that still move cannot be reached; it stands for the replies.

        Returns:
            None if the commands must stay on one shard, and several are concerned.
        """
        mesh, core, policy = self._mesh, self._core, self._mesh._policy
        route_table = await core.loaded()
        placement, pack = route_table.placement, redis_py.pack_all
        how = (stack, placement, pack, self._atomic, core.registry, core.master_of)
        plans = NO_PLANS
        if failure is not None:
            plans = plans_apart([args for args, _ in stack], placement, core.registry)
        try:
            spread_out = spread(*how, plans, policy.retry_writes)
        except UnknownCommandError:
            asked = await mesh.plans_of([args for args, _ in stack], route_table)
            spread_out = spread(*how, {**asked, **plans}, policy.retry_writes)
        if self._one_shard_only and len(spread_out.parts) > 1:
            return None
        parts = [
            (route_table.shards[part.shard], part)
            for part in spread_out.parts
            if not part.shard.startswith(STUCK)
        ]
        try:
            if placement.in_order and spread_out.for_all_shards():
                sent = await self._sent_in_order(parts, placement.names)
            else:
                sent = await send_parts(parts, lazily=spread_out.only_reads())
            results: list[Any] = [
                await self._sent_anew(part, in_part)
                if isinstance(result, ShardRetiredError)
                else result
                for result, (_, part) in zip(sent, parts, strict=True)
            ]
            if failure is not None:
                found = dict(zip([part.shard for _, part in parts], results, strict=True))
                results = [found.get(part.shard, failure) for part in spread_out.parts]
            if policy.misses:
                shards = [part.shard.removeprefix(STUCK) for part in spread_out.parts]
                results = [
                    mesh.missed_part(result, route_table.shards[shard], part)
                    for result, shard, part in zip(results, shards, spread_out.parts, strict=True)
                ]
        finally:
            if core.reads_replicas:
                for shard, part in parts:  # also if one shard raised, or the wait was interrupted
                    mesh.wrote_part(shard, part)
        return spread_out.replies(results)

    async def _sent_in_order(
        self, parts: Sequence[tuple[ShardClient, Part]], names: Sequence[str]
    ) -> list[RoutedPartResult]:
        """Send parts to one shard after the other: keys move from shards to later ones."""
        results = {}
        for shard, part in sorted(parts, key=lambda each: names.index(each[1].shard)):
            (results[part.shard],) = await send_parts([(shard, part)], lazily=False)
        return [results[part.shard] for _, part in parts]

    async def _sent_anew(self, part: Part, in_part: bool) -> list[Any] | ShardUnavailableError:
        """Send a part whose shard was retired in a resize to where its keys are by now.

        Raises:
            CrossShardError: the part was all of a transaction, whose keys are on two shards by now.
        """
        if not part.keyed(self._core.registry):  # for this shard, of which nobody knows the place
            return unrouted(part.shard)
        commands = part.commands[1:-1] if part.atomic else part.commands
        decode = [part.decode[-1]] * len(commands) if part.atomic else part.decode
        stack: Stack = [
            (args, {} if decoded else {NEVER_DECODE: True})
            for args, decoded in zip(commands, decode, strict=True)
        ]
        replies = await self._routed(stack, in_part)
        if replies is None:
            await self._bound([args for args, _ in stack])
            return unrouted(part.shard)
        return [*[None] * (len(commands) + 1), replies] if part.atomic else replies
