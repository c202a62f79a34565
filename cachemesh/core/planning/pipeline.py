"""A pipeline becomes one batch per shard, and the shards' replies one list in order. No I/O.

GET a, MGET b c, INCR d  --plan_batch-->  cache-0: GET a, MGET c
                                          cache-1: MGET b, INCR d
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from redis.exceptions import InvalidResponse, RedisError

from cachemesh.core.commands.registry import TABLE_REGISTRY, CommandRegistry
from cachemesh.core.commands.spec import FIRST_KEY, Args
from cachemesh.core.placement import Placement
from cachemesh.core.placement.keys import key_bytes
from cachemesh.core.planning.merge import Reply
from cachemesh.core.planning.plan import plan
from cachemesh.core.planning.scan_cursor import MasterOf, no_master
from cachemesh.core.planning.split import CommandPlan, encode_keys, group_by_owner, only_reply
from cachemesh.core.rerouting import KeyMovingError, Pair

Plans: TypeAlias = "Mapping[int, CommandPlan]"
"""``id`` of a call's arguments -> its plan; a pipeline may hold calls that are equal."""

NO_PLANS: Plans = {}


@dataclass
class Batch:
    """Commands for several shards, in the order of the caller within each shard.

    Attributes:
        parts: shard name -> what to send to it, in order.
        homes: for each command the shard that the command goes to; the first of several.
        plans: position of a command whose replies need work -> its plan.
    """

    parts: dict[str, list[Args]] = field(default_factory=dict)
    homes: list[str] = field(default_factory=list)
    plans: dict[int, CommandPlan] = field(default_factory=dict)

    def spread(self, items: Iterable[Any]) -> dict[str, list[Any]]:
        """Return the items of each shard's commands, in the order of ``parts``, by shard name.

        Args:
            items: one for each command of the caller.
        """
        result: dict[str, list[Any]] = {shard: [] for shard in self.parts}
        for at, (item, home) in enumerate(zip(items, self.homes, strict=True)):
            if at in self.plans:
                for request in self.plans[at].sub_requests:
                    result[request.shard].append(item)
            else:
                result[home].append(item)
        return result

    def merge(self, replies: Mapping[str, Sequence[Reply]]) -> list[Reply]:
        """Return for each command its reply, or the first error among the replies of its shards.

        Raises:
            redis.InvalidResponse: a shard gave more or fewer replies than it got commands.
        """
        for shard, part in self.parts.items():
            if len(replies[shard]) != len(part):
                raise InvalidResponse(
                    f"Shard {shard!r} gave {len(replies[shard])} replies to {len(part)} commands"
                )
        following = {shard: iter(replies[shard]) for shard in self.parts}
        if not self.plans:
            return list(map(next, map(following.__getitem__, self.homes)))
        return [
            _merged(self.plans[at], following) if at in self.plans else next(following[home])
            for at, home in enumerate(self.homes)
        ]


def _merged(planned: CommandPlan, following: Mapping[str, Iterator[Reply]]) -> Reply:
    found = [next(following[request.shard]) for request in planned.sub_requests]
    if not planned.takes_errors:
        for reply in found:
            if isinstance(reply, Exception):
                return reply
    try:
        return planned.merge(found)
    except RedisError as error:
        return error


def plan_batch(
    commands: Sequence[Args],
    placement: Placement,
    registry: CommandRegistry = TABLE_REGISTRY,
    plans: Plans = NO_PLANS,
    master_of: MasterOf = no_master,
) -> Batch:
    """Return where the commands of a pipeline go.

    Args:
        registry, master_of: as of `cachemesh.core.planning.plan.plan`.
        plans: of those commands that are planned already.

    Raises:
        CrossShardError, UnsupportedCommandError, InvalidKeyError, UnknownCommandError: as
            `cachemesh.core.planning.plan.plan`; nothing of the pipeline is to be sent then.
        KeyMovingError: as `MigratingPlacement`, with such keys of all commands.
    """
    names = {args[0] for args in commands}
    simple = names <= FIRST_KEY.keys() and min(map(len, commands), default=0) > 1
    if simple and not plans:  # nearly always
        homes = placement.owners(encode_keys([args[1] for args in commands], key_bytes))
        return Batch(group_by_owner(commands, homes), homes)
    batch, moving = Batch(), dict[Pair, list[bytes]]()
    stage: object = None
    for args in commands:
        try:
            _add(batch, args, placement, registry, plans, master_of)
        except KeyMovingError as error:
            stage = error.stage
            for pair, keys in error.keys.items():
                moving.setdefault(pair, []).extend(keys)
    if moving:  # all of them at once
        raise KeyMovingError(moving, stage)
    return batch


def _add(
    batch: Batch,
    args: Args,
    placement: Placement,
    registry: CommandRegistry,
    plans: Plans,
    master_of: MasterOf,
) -> None:
    """Add a command to a batch."""
    parts, homes = batch.parts, batch.homes
    known = plans.get(id(args))
    if len(args) > 1 and args[0] in FIRST_KEY and known is None:
        shard = placement.owner(key_bytes(args[1]))
        parts.setdefault(shard, []).append(args)
        homes.append(shard)
        return
    planned = known or plan(args, placement, key_bytes, registry, master_of)
    for request in planned.sub_requests:
        parts.setdefault(request.shard, []).append(request.args)
    if planned.merge is not only_reply or len(planned.sub_requests) > 1:
        batch.plans[len(homes)] = planned
    homes.append(planned.sub_requests[0].shard)
