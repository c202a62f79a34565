"""What the sync and the asyncio pipeline share: where commands go, and what replies become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import redis
from redis.client import EMPTY_RESPONSE, NEVER_DECODE
from redis.exceptions import ExecAbortError

from cachemesh.core.commands.registry import Registry
from cachemesh.core.commands.spec import FIRST_KEY, Args
from cachemesh.core.errors import CrossShardError, ShardUnavailableError
from cachemesh.core.placement import Placement
from cachemesh.core.planning.pipeline import NO_PLANS, Batch, Plans, plan_batch
from cachemesh.core.planning.plan import shards_in_transaction
from cachemesh.core.planning.scan_cursor import MasterOf
from cachemesh.core.resilience.retry import lacks_replicas, refused
from cachemesh.transport.part import holds_error
from cachemesh.transport.redis_py import is_open, pack_all

Stack = Sequence[tuple[tuple[Any, ...], Mapping[str, Any]]]
"""What redis-py's pipelines queue: arguments and options of each command."""


@dataclass(frozen=True)
class Part:
    """What one shard gets.

    Attributes:
        commands: in order.
        decode: for each reply whether to decode it.
        atomic: they stand in a MULTI.
        retry_writes: they may run twice though they write.
    """

    shard: str
    commands: Sequence[Args]
    decode: Sequence[bool]
    atomic: bool = False
    retry_writes: bool = False

    @property
    def only_reads(self) -> bool:
        """Whether no command changes anything."""
        commands = self.commands[1:-1] if self.atomic else self.commands
        return all(FIRST_KEY.get(name, False) for name in {args[0] for args in commands})

    @property
    def repeatable(self) -> bool:
        """Whether it may run twice."""
        return self.retry_writes or self.only_reads

    def undone(self, replies: Sequence[Any]) -> Sequence[int]:
        """Places of the commands that were refused without having run, as during a failover.

        Where one of a MULTI was, none has run. Reads behind a write that was refused have answered
        too early.
        """
        if self.atomic and isinstance(replies[-1], list):
            return ()
        places = range(len(self.commands))
        first = next((place for place in places if _is_refused(replies[place])), None)
        if first is None:
            return ()
        if self.atomic:
            return places
        return [
            place
            for place in places[first:]
            if _is_refused(replies[place]) or FIRST_KEY.get(self.commands[place][0], False)
        ]

    def only(self, places: Sequence[int]) -> Part:
        """Some of the commands."""
        commands = [self.commands[place] for place in places]
        return replace(self, commands=commands, decode=[self.decode[place] for place in places])

    def payload(self) -> bytes:
        """The commands packed.

        Raises:
            redis.DataError: an argument Redis has no form for.
        """
        return pack_all(self.commands)


def _is_refused(reply: Any) -> bool:
    return isinstance(reply, Exception) and refused(reply) is not None


@dataclass(frozen=True)
class Parts:
    """A pipeline spread over shards.

    Attributes:
        atomic: each shard's part runs in a MULTI.
        unsent: positions of commands that go nowhere, as in redis-py: where a default for an
            error is given, MULTI leaves it at that.
    """

    batch: Batch
    parts: tuple[Part, ...]
    atomic: bool
    unsent: Sequence[int]

    def only_reads(self) -> bool:
        """Whether no command changes anything; then no harm is done if not all can be packed."""
        return not self.atomic and all(part.only_reads for part in self.parts)

    def replies(self, results: Sequence[list[Any] | ShardUnavailableError]) -> list[Any]:
        """One reply a command in the caller's order, errors among them."""
        by_shard: dict[str, Sequence[Any]] = {}
        for part, result in zip(self.parts, results, strict=True):
            if isinstance(result, ShardUnavailableError):
                by_shard[part.shard] = [result] * len(self.batch.parts[part.shard])
            else:
                by_shard[part.shard] = _of_exec(result) if self.atomic else result
        replies = self.batch.merge(by_shard)
        for at in self.unsent:
            replies.insert(at, redis.ResponseError("Not sent"))
        return replies


class PipelineBase:
    """What is the same in both pipelines; goes before redis-py's class.

    redis-py's pipeline is a client as well. What it makes is the client's here: redis-py's own
    methods would make it from ``connection_pool``, which is one shard's once that is settled.
    """

    _mesh: Any
    _encodes: bool
    command_stack: Any
    explicit_transaction: bool
    watching: bool
    immediate_execute_command: Any

    def pipeline(self, transaction: bool | None = None, shard_hint: str | None = None) -> Any:
        """Another pipeline of the client."""
        return self._mesh.pipeline(transaction, shard_hint)

    def pubsub(self, **options: Any) -> Any:
        """As the client's own."""
        return self._mesh.pubsub(**options)

    def monitor(self) -> Any:
        """As the client's own."""
        return self._mesh.monitor()

    def client(self) -> Any:
        """As the client's own."""
        return self._mesh.client()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Queue a command, or send it now while watching."""
        if self._encodes:
            args = self._mesh.encoded(args)
        if self.explicit_transaction or not (self.watching or args[0] == "WATCH"):
            self.command_stack.append((args, options))
            return self
        return self.immediate_execute_command(*args, **options)


def spread(
    stack: Stack,
    placement: Placement,
    atomic: bool,
    registry: Registry,
    master_of: MasterOf,
    plans: Plans = NO_PLANS,
    retry_writes: bool = False,
) -> Parts:
    """Queued commands as one part for each shard.

    Args:
        registry, master_of, plans: as of `plan_batch`.
        retry_writes: what may have run is sent again though it writes.

    Raises:
        CrossShardError, UnsupportedCommandError, InvalidKeyError, UnknownCommand: as `plan_batch`.
    """
    unsent: list[int] = []
    if atomic:
        unsent = [at for at, (_, options) in enumerate(stack) if EMPTY_RESPONSE in options]
    if unsent:
        stack = [item for at, item in enumerate(stack) if at not in unsent]
    commands = [args for args, _ in stack]
    batch = plan_batch(commands, placement, registry, plans, master_of)
    raw = any(NEVER_DECODE in options for _, options in stack)
    decode = batch.spread(NEVER_DECODE not in options for _, options in stack) if raw else {}
    parts = []
    for shard, part in batch.parts.items():
        flags = decode[shard] if raw else [True] * len(part)
        if atomic:
            part = [("MULTI",), *part, ("EXEC",)]
            flags = [True] * (len(part) - 1) + [all(flags)]
        parts.append(Part(shard, part, flags, atomic, retry_writes))
    return Parts(batch, tuple(parts), atomic, unsent)


def discarded(result: Sequence[Any] | ShardUnavailableError) -> Exception | None:
    """Why nothing of a shard's MULTI was served, where that may be a miss; else None."""
    if isinstance(result, ShardUnavailableError):
        return result
    if isinstance(result[-1], list):
        return None
    errors = [reply for reply in result[:-1] if isinstance(reply, Exception)] or [result[-1]]
    return errors[0] if all(map(lacks_replicas, errors)) else None


def _of_exec(replies: Sequence[Any]) -> Sequence[Any]:
    """Replies of the commands that stood between MULTI and EXEC."""
    queued, result = replies[1:-1], replies[-1]
    if isinstance(result, list):
        return result
    # EXECABORT: what was wrong stands where the command was queued; none of them has run.
    return [reply if isinstance(reply, Exception) else result for reply in queued]


def one_shard(
    commands: Sequence[tuple[Any, ...]],
    placement: Placement,
    home: str | None,
    registry: Registry,
    plans: Plans,
) -> str:
    """The shard that all commands are for.

    Args:
        home: the shard that is watched already.
        registry, plans: as of `plan_batch`.

    Raises:
        CrossShardError: there are several.
        UnsupportedCommandError, InvalidKeyError, UnknownCommand: as `plan_batch`.
    """
    shards: dict[str, Any] = {} if home is None else {home: "WATCH"}
    for args in commands:
        planned = plans.get(id(args))
        if planned is None:
            needed = shards_in_transaction(args, placement, registry)
        else:
            needed = tuple(request.shard for request in planned.requests)
        for shard in needed:
            shards.setdefault(shard, args[0])
    if len(shards) > 1:
        (first, one), (second, other) = list(shards.items())[:2]
        raise CrossShardError(
            f"A transaction needs its keys on one shard, but {one} goes to {first} and {other} to "
            f"{second}; give the keys one hash tag, or use pipeline(transaction=False)"
        )
    return next(iter(shards), placement.names[0])


def require_watching(pipeline: Any) -> None:
    """Refuse to go on once the connection that watches is closed, as by closing the client.

    redis-py would connect anew and run the transaction with nothing watched.

    Raises:
        redis.WatchError: it is closed; nothing is watched any more.
    """
    connection = pipeline.connection
    if pipeline.watching and connection is not None and not is_open(connection):
        pipeline.watching = False  # there is nothing to UNWATCH
        raise redis.WatchError(
            "The connection was closed while it watched keys, which may have changed since; watch "
            "them anew"
        )


def finished(replies: Sequence[Any], stack: Stack, callbacks: Any, annotate: Any) -> list[Any]:
    """Replies as redis-py's pipelines return them; errors stay in the list as exceptions.

    Raises:
        redis.ResponseError: the server refused a transaction; the command that was wrong is named.
    """
    failed = holds_error(replies)
    if failed and any(isinstance(reply, ExecAbortError) for reply in replies):
        for number, reply in enumerate(replies, 1):
            if isinstance(reply, redis.ResponseError) and not isinstance(reply, ExecAbortError):
                annotate(reply, number, stack[number - 1][0])
                raise reply
    known = {name: callbacks.get(name) for name in {args[0] for args, _ in stack}}
    if not failed and not any(known.values()):
        return list(replies)
    results = []
    for reply, (args, options) in zip(replies, stack, strict=True):
        callback = known[args[0]]
        if failed and isinstance(reply, Exception):
            refused = isinstance(reply, redis.ResponseError)
            results.append(options.get(EMPTY_RESPONSE, reply) if refused else reply)
        elif callback is not None:
            results.append(callback(reply, **for_callback(options)))
        else:
            results.append(reply)
    return results


def raise_first(results: Sequence[Any], stack: Stack, annotate: Any) -> None:
    """Raise the first error among the results, saying which command it was."""
    if not holds_error(results):
        return
    for number, result in enumerate(results, 1):
        if isinstance(result, Exception):
            if isinstance(result, redis.ResponseError):
                annotate(result, number, stack[number - 1][0])
            raise result


def for_callback(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a call that its response callback takes."""
    return {n: v for n, v in options.items() if n not in (NEVER_DECODE, EMPTY_RESPONSE, "keys")}
