"""What each shard is sent of a pipeline, and how its replies become those of the pipeline. No I/O.

plan_batch says where commands go; `spread` makes a `Part` of those for one shard, within MULTI and
EXEC where the pipeline is to be atomic there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import redis
from redis.client import EMPTY_RESPONSE, NEVER_DECODE

from cachemesh.core.commands.registry import CommandRegistry
from cachemesh.core.commands.spec import FIRST_KEY, Args
from cachemesh.core.errors import CrossShardError
from cachemesh.core.placement import Placement
from cachemesh.core.planning.pipeline import NO_PLANS, Batch, Plans, plan_batch
from cachemesh.core.planning.plan import shards_in_transaction
from cachemesh.core.planning.scan_cursor import MasterOf
from cachemesh.core.resilience.error_classification import lacks_replicas, refused

Stack = Sequence[tuple[tuple[Any, ...], Mapping[str, Any]]]
"""What redis-py's pipelines queue: arguments and options of each command."""

Pack = Callable[[Sequence[Args]], bytes]
"""Commands as the bytes that a server reads."""


@dataclass(frozen=True)
class Part:
    """The commands that one shard gets of a pipeline.

    Attributes:
        shard: the shard's name.
        commands: in order.
        decode: for each command whether to decode its reply.
        pack: makes the bytes.
        atomic: the commands stand between MULTI and EXEC, which are among them.
        retry_writes: the part may run twice though it writes.
    """

    shard: str
    commands: Sequence[Args]
    decode: Sequence[bool]
    pack: Pack
    atomic: bool = False
    retry_writes: bool = False

    @property
    def only_reads(self) -> bool:
        """Whether no command changes anything."""
        commands = self.commands[1:-1] if self.atomic else self.commands
        return all(FIRST_KEY.get(name, False) for name in {args[0] for args in commands})

    @property
    def retriable(self) -> bool:
        """Whether the part may run twice."""
        return self.retry_writes or self.only_reads

    def keyed(self, registry: CommandRegistry) -> bool:
        """Return whether every command has keys, which say where the command goes."""
        commands = self.commands[1:-1] if self.atomic else self.commands
        for args in commands:
            if args[0] not in FIRST_KEY:
                command, _ = registry.look_up(args)
                if command is None or not command.specs:
                    return False
        return True

    def payload(self) -> bytes:
        """Return the commands packed.

        Raises:
            redis.DataError: an argument Redis has no form for.
        """
        return self.pack(self.commands)

    def undone(self, replies: Sequence[Any]) -> Sequence[int]:
        """Return the places of the commands that were refused without having run.

        That happens during a failover. Where one command of a MULTI was refused, none has run.
        Reads behind a write that was refused count as refused: they have answered too early.
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
        """Return a part of the commands at these places."""
        commands = [self.commands[place] for place in places]
        return replace(self, commands=commands, decode=[self.decode[place] for place in places])


def _is_refused(reply: Any) -> bool:
    return isinstance(reply, Exception) and refused(reply) is not None


@dataclass(frozen=True)
class Parts:
    """A pipeline spread over shards.

    Attributes:
        batch: where each command goes.
        parts: for each shard what it is sent.
        atomic: each shard's part runs in a MULTI.
        unsent: positions of commands that go nowhere, as in redis-py: where a default for an
            error is given, MULTI leaves it at that.
    """

    batch: Batch
    parts: tuple[Part, ...]
    atomic: bool
    unsent: Sequence[int]

    def only_reads(self) -> bool:
        """Return whether no command changes anything; then parts may be packed one by one."""
        return not self.atomic and all(part.only_reads for part in self.parts)

    def for_all_shards(self) -> bool:
        """Return whether some command without keys goes to several shards."""
        return any(
            len(planned.sub_requests) > 1 and not planned.command.specs
            for planned in self.batch.plans.values()
        )

    def replies(self, results: Sequence[list[Any] | Exception]) -> list[Any]:
        """Return a reply for each command in the caller's order, errors among them.

        Args:
            results: for each part its replies, or why its shard gave none.
        """
        by_shard: dict[str, Sequence[Any]] = {}
        for part, result in zip(self.parts, results, strict=True):
            if isinstance(result, Exception):
                by_shard[part.shard] = [result] * len(self.batch.parts[part.shard])
            else:
                by_shard[part.shard] = _of_exec(result) if self.atomic else result
        replies = self.batch.merge(by_shard)
        for at in self.unsent:
            replies.insert(at, redis.ResponseError("Not sent"))
        return replies


def spread(
    stack: Stack,
    placement: Placement,
    pack: Pack,
    atomic: bool,
    registry: CommandRegistry,
    master_of: MasterOf,
    plans: Plans = NO_PLANS,
    retry_writes: bool = False,
) -> Parts:
    """Return queued commands as one part for each shard.

    Args:
        stack: what was queued.
        placement: of the pool.
        pack: for the parts.
        atomic: each shard's part runs in a MULTI.
        registry, master_of, plans: as of `plan_batch`.
        retry_writes: what may have run is sent again though it writes.

    Raises:
        CrossShardError, UnsupportedCommandError, InvalidKeyError, UnknownCommandError: as
            `plan_batch`.
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
        parts.append(Part(shard, part, flags, pack, atomic, retry_writes))
    return Parts(batch, tuple(parts), atomic, unsent)


def discarded(result: Sequence[Any] | Exception) -> Exception | None:
    """Return why nothing of a shard's MULTI was served, where that may be a miss; else None."""
    if isinstance(result, Exception):
        return result
    if isinstance(result[-1], list):
        return None
    errors = [reply for reply in result[:-1] if isinstance(reply, Exception)] or [result[-1]]
    return errors[0] if all(map(lacks_replicas, errors)) else None


def _of_exec(replies: Sequence[Any]) -> Sequence[Any]:
    """Return the replies of the commands that stood between MULTI and EXEC."""
    queued, result = replies[1:-1], replies[-1]
    if isinstance(result, list):
        return result
    # EXECABORT: what was wrong stands where the command was queued; none of them has run.
    return [reply if isinstance(reply, Exception) else result for reply in queued]


def one_shard(
    commands: Sequence[tuple[Any, ...]],
    placement: Placement,
    home: str | None,
    registry: CommandRegistry,
    plans: Plans,
) -> str:
    """Return the name of the shard that all commands are for.

    Args:
        commands: of a transaction.
        placement: of the pool.
        home: the shard that is watched already.
        registry, plans: as of `plan_batch`.

    Raises:
        CrossShardError: there are several.
        UnsupportedCommandError, InvalidKeyError, UnknownCommandError: as `plan_batch`.
    """
    shards: dict[str, Any] = {} if home is None else {home: "WATCH"}
    for args in commands:
        planned = plans.get(id(args))
        if planned is None:
            needed = shards_in_transaction(args, placement, registry)
        else:
            needed = tuple(request.shard for request in planned.sub_requests)
        for shard in needed:
            shards.setdefault(shard, args[0])
    if len(shards) > 1:
        (first, one), (second, other) = list(shards.items())[:2]
        raise CrossShardError(
            f"A transaction needs its keys on one shard, but {one} goes to {first} and {other} to "
            f"{second}; give the keys one hash tag, or use pipeline(transaction=False)"
        )
    return next(iter(shards), placement.names[0])
