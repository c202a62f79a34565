"""Commands that take a plan: who is asked, in which words, and what is made of the replies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import redis

from cachemesh._client.base import ENDS_CONNECTION, MeshBase, may_be_missed
from cachemesh.asyncio.core import Core
from cachemesh.core.commands.blocking import block_seconds, miss_delay
from cachemesh.core.commands.spec import Command
from cachemesh.core.errors import ShardUnavailableError
from cachemesh.core.placement.keys import key_bytes
from cachemesh.core.placement.route_table import RouteTable
from cachemesh.core.planning.pipeline import Plans
from cachemesh.core.planning.plan import REMOVES_ALL, UnknownCommandError, keys_of, plan
from cachemesh.core.planning.split import CommandPlan
from cachemesh.core.planning.stuck_keys import STUCK, STUCK_ERRORS, StuckError, plan_apart
from cachemesh.core.planning.unknown_commands import Calls, resolve_all
from cachemesh.core.reads.read_preference import CURSORS
from cachemesh.core.rerouting import PartlyRetiredError, RerouteError, ShardRetiredError
from cachemesh.core.resilience.error_classification import NotSentError
from cachemesh.transport.aio.replica_reads import read
from cachemesh.transport.aio.scatter_gather import gather, gather_reads
from cachemesh.transport.aio.shard import ShardClient


class PlannedCommands(MeshBase[ShardClient]):
    """A client as far as it plans commands and sends them as the policy says."""

    _core: Core

    async def _execute_planned(
        self, args: tuple[Any, ...], route_table: RouteTable[ShardClient], decode: bool
    ) -> Any:
        core = self._core
        args = self._named(args)
        try:
            planned = plan(args, route_table.placement, key_bytes, core.registry, core.master_of)
        except UnknownCommandError:
            planned = (await self.plans_of([args], route_table))[id(args)]
        command = planned.command
        requests = [(route_table.shards[r.shard], r.args) for r in planned.sub_requests]
        if len(requests) == 1:
            shard, words = requests[0]
            seconds = block_seconds(command.original, words)
            if True:  # asyncio: not on the connection that tasks share
                seconds = 0.0 if command.original in ENDS_CONNECTION else seconds
            try:
                reply = await self._one_planned(command, shard, words, decode, seconds)
            finally:
                if command.original in ENDS_CONNECTION:
                    shard.drop_connections()
            return planned.merge([reply])
        try:
            if route_table.placement.in_order and not command.specs:
                replies = await self._one_by_one(planned, requests, decode)
            elif core.plain and not self._call_options:
                replies = await gather(requests, command.read_only, decode, planned.takes_errors)
            else:
                replies = await self._several(planned, requests, decode)
        except PartlyRetiredError as error:
            if not command.specs and (command.read_only or command.original in REMOVES_ALL):
                raise ShardRetiredError from error  # keys have gone the other way meanwhile
            replies = await self._completed(planned, requests, error.replies, decode)
        return planned.merge(replies)

    async def _completed(
        self,
        planned: CommandPlan,
        requests: Sequence[tuple[ShardClient, tuple[Any, ...]]],
        replies: Sequence[Any],
        decode: bool,
    ) -> list[Any]:
        """Return the replies to a command's sub-requests, once those are sent anew that were not.

        Args:
            requests: one for each reply.
            replies: errors and `ShardRetiredError` among them, as `PartlyRetiredError` has them.
        """
        now = self._core.shards()  # of which misses are counted
        asked = [(now.get(shard.name, shard), words) for shard, words in requests]
        results = []
        for reply, (retired, words), (shard, _) in zip(replies, requests, asked, strict=True):
            if isinstance(reply, RerouteError):
                try:
                    reply = await self._sent_anew(planned.command, retired, words, decode)
                except (ShardUnavailableError, redis.ResponseError) as error:
                    reply = self._missed(error, shard, words, planned.command.read_only)
            results.append(reply)
        return self._judged(planned, asked, results)

    async def _one_by_one(
        self,
        planned: CommandPlan,
        requests: Sequence[tuple[ShardClient, tuple[Any, ...]]],
        decode: bool,
    ) -> list[Any]:
        """Send sub-requests to one shard after the other: keys move from shards to later ones."""
        replies = []
        for request in requests:
            try:
                replies += await self._several(planned, [request], decode)
            except PartlyRetiredError as error:
                replies += error.replies
        if any(isinstance(reply, RerouteError) for reply in replies):
            raise PartlyRetiredError(replies)
        return replies

    async def _sent_anew(
        self, command: Command, retired: ShardClient, words: tuple[Any, ...], decode: bool
    ) -> Any:
        """Send a sub-request whose shard was retired to where its keys are by now.

        Without keys the sub-request is for that shard, and goes to its successor.
        """
        deadline = self._core.wait_until()
        while True:
            route_table = await self._core.loaded()
            try:
                if command.specs:
                    return await self._execute_planned(words, route_table, decode)
                if retired.name not in route_table.shards:
                    retired.raise_unavailable(NotSentError("the shard has left the pool"))
                shard = route_table.shards[retired.name]
                return await shard.execute(words, command.read_only, decode)
            except RerouteError as error:
                try:
                    await self._core.await_route(error, deadline, self._policy.misses)
                except STUCK_ERRORS as failure:
                    return await self._in_part(failure, words, decode)

    async def _in_part(self, failure: StuckError, args: tuple[Any, ...], decode: bool) -> Any:
        """Return the reply to a command of which some keys are misses, as they cannot be reached.

        Args:
            failure: why; raised if the policy asks for no misses, or the command has none.
            args: the command.
            decode: the reply.
        """
        core, route_table, planned = self._core, self._core.route_table, None
        if route_table is not None and self._policy.misses:
            planned = plan_apart(args, route_table.placement, core.registry)
        if route_table is None or planned is None:
            return self._missed_route(failure, args)
        read_only, replies, reached = planned.command.read_only, list[Any](), list[Any]()
        for name, words in planned.sub_requests:
            shard = route_table.shards[name.removeprefix(STUCK)]
            if name.startswith(STUCK):
                replies.append(self._missed(failure, shard, words, read_only))
            else:
                reached.append((len(replies), (shard, words)))
                replies.append(None)
        requests = [request for _, request in reached]
        try:
            found = await self._several(planned, requests, decode) if requests else []
        except PartlyRetiredError as error:
            found = await self._completed(planned, requests, error.replies, decode)
        for (at, _), reply in zip(reached, found, strict=True):
            replies[at] = reply
        return planned.merge(replies)

    async def _one_planned(
        self,
        command: Command,
        shard: ShardClient,
        words: tuple[Any, ...],
        decode: bool,
        seconds: float | None,
    ) -> Any:
        """Send a command to the one shard it is for.

        Args:
            command, words: the command.
            shard: where its keys are.
            decode: the reply.
            seconds: for which the command may block on the server; None: it does not block.
        """
        if seconds is None:
            if self._core.plain and not self._call_options:
                return await shard.execute(words, command.read_only, decode)
            keys = () if command.name in CURSORS else keys_of(command, words)
            return await self._one(shard, words, keys, command.read_only, decode)
        began, waits_for = time.monotonic(), keys_of(command, words)
        try:
            return await shard.execute_blocking(words, decode, seconds, waits_for)
        except (ShardUnavailableError, redis.ResponseError) as error:
            reply = self._missed(error, shard, words, command.read_only)
            await asyncio.sleep(miss_delay(seconds, time.monotonic() - began))
            return reply
        finally:
            if not command.read_only:
                self.wrote_to(shard, waits_for)

    async def _one(
        self,
        shard: ShardClient,
        args: tuple[Any, ...],
        keys: Sequence[bytes],
        read_only: bool,
        decode: bool,
    ) -> Any:
        """Send a command to one shard, as the policy says."""
        policy = self._policy
        try:
            if read_only and keys and policy.reading.uses_replicas and args[0] not in CURSORS:
                return await read(shard, args, keys, policy.reading, decode)
            try:
                return await shard.execute(args, read_only or policy.retry_writes, decode)
            finally:
                if not read_only:
                    self.wrote_to(shard, keys)
        except (ShardUnavailableError, redis.ResponseError) as error:
            return self._missed(error, shard, args, read_only)

    async def _several(
        self,
        planned: CommandPlan,
        requests: Sequence[tuple[ShardClient, tuple[Any, ...]]],
        decode: bool,
    ) -> list[Any]:
        """Send a command's sub-requests to their shards, as the policy says."""
        command, policy = planned.command, self._policy
        if command.read_only and command.specs and policy.reading.uses_replicas:
            reads = [(shard, words, keys_of(command, words)) for shard, words in requests]
            replies = await gather_reads(reads, policy.reading, decode)
        else:
            try:
                how = (command.read_only, decode, True, policy.retry_writes)
                replies = await gather(requests, *how)
            finally:
                if self._core.reads_replicas and not command.read_only:
                    for shard, words in requests:
                        self.wrote_to(shard, keys_of(command, words))
        return self._judged(planned, requests, replies)

    def _judged(
        self,
        planned: CommandPlan,
        requests: Sequence[tuple[ShardClient, tuple[Any, ...]]],
        replies: list[Any],
    ) -> list[Any]:
        """Return replies with misses in place of errors, as the policy says; raise other errors."""
        command, misses = planned.command, self._policy.misses
        for at, (reply, (shard, words)) in enumerate(zip(replies, requests, strict=True)):
            if misses and command.specs and may_be_missed(reply):
                replies[at] = self._missed(reply, shard, words, command.read_only)
            elif isinstance(reply, Exception) and not planned.takes_errors:
                raise reply
        return replies

    async def plans_of(self, calls: Calls, route_table: RouteTable[ShardClient]) -> Plans:
        """Return the plans of those calls about which a server has to be asked first.

        Raises:
            cachemesh.ShardUnavailableError: no shard answers.
        """
        asking = resolve_all(calls, route_table.placement, self._core.registry)
        reply: Any = None
        while True:
            try:
                question = asking.send(reply)
            except StopIteration as done:
                plans: Plans = done.value
                return plans
            reply = await self._answer(question, route_table)

    async def _answer(self, question: tuple[Any, ...], route_table: RouteTable[ShardClient]) -> Any:
        """Return the reply, error or not, of the first shard that gives one."""
        failures = []
        for shard in route_table.shards.values():
            try:
                return await shard.execute(question, True, False)
            except redis.ResponseError as error:
                return error
            except ShardUnavailableError as failure:
                failures.append(failure)
        raise failures[0]
