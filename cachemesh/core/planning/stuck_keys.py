"""Plans calls of which some keys cannot be reached in time, as they move. No I/O.

MGET a b c   b is stuck on its way from cache-1   -->  cache-0: MGET a c    ?cache-1: MGET b

What is planned for a shard with `STUCK` before its name is not sent.
"""

from __future__ import annotations

from typing import TypeAlias

from redis.exceptions import OutOfMemoryError

from cachemesh.core.commands.registry import CommandRegistry
from cachemesh.core.commands.spec import Args
from cachemesh.core.errors import ShardUnavailableError
from cachemesh.core.placement import Placement
from cachemesh.core.placement.keys import key_bytes
from cachemesh.core.planning.pipeline import Plans
from cachemesh.core.planning.plan import keys_of, to_one_shard
from cachemesh.core.planning.split import (
    SPLIT_RULES,
    CommandPlan,
    encode_keys,
    split_among,
    split_msetex,
)
from cachemesh.core.planning.unknown_commands import Calls
from cachemesh.core.rerouting import RerouteError

STUCK = "?"
"""Stands before the name of the shard that keys were on before they began to move."""

StuckError: TypeAlias = ShardUnavailableError | OutOfMemoryError
"""Why keys are stuck: they do not get to their shard in time, or it has no room for them."""

STUCK_ERRORS = (ShardUnavailableError, OutOfMemoryError)


def plan_apart(args: Args, placement: Placement, registry: CommandRegistry) -> CommandPlan | None:
    """Plan a call some keys of which are stuck, apart from the others if it can be split.

    Args:
        args: the call.
        placement: which still says of these keys that they are held, or to be pulled.
        registry: the commands that are known.

    Returns:
        None if no key of the call is stuck, as far as is known without asking a server.

    Raises:
        UnsupportedCommandError, InvalidKeyError: as `cachemesh.core.planning.plan.plan`.
    """
    command, words = registry.look_up(tuple(args))
    if command is None or not command.specs:
        return None
    rule = SPLIT_RULES.get(command.name)
    keys = encode_keys(rule.keys(words), key_bytes) if rule else keys_of(command, words)
    owners = [_owner(placement, key) for key in keys]
    stuck = next((owner for owner in owners if owner.startswith(STUCK)), None)
    if stuck is None:
        return None
    planned = None
    if rule is not None:
        planned = split_among(command, rule, words, keys, owners)
    elif command.name == "MSETEX":
        planned = split_msetex(command, words, owners)
    return planned or to_one_shard(command, words, stuck)


def plans_apart(calls: Calls, placement: Placement, registry: CommandRegistry) -> Plans:
    """Return the plans of those of many calls that have stuck keys; see `plan_apart`."""
    plans = {id(args): plan_apart(args, placement, registry) for args in calls}
    return {call: planned for call, planned in plans.items() if planned is not None}


def _owner(placement: Placement, key: bytes) -> str:
    try:
        return placement.owner(key)
    except RerouteError:
        return STUCK + placement.stable.owner(key)
