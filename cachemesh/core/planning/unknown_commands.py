"""Plans commands for which a server may have to be asked first. No I/O: a generator of questions.

    generator --question--> the client sends it to any server --reply--> generator ... CommandPlan

An unknown command is asked about once and remembered. A command whose keys the server does not
describe is asked about at each call. A command that no server knows is sent to one server
unchanged, which gives that server's own error.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, TypeAlias

from redis.exceptions import ResponseError

from cachemesh.core.commands.registry import CommandRegistry, command_info_request
from cachemesh.core.commands.spec import Args, Command, key_positions
from cachemesh.core.errors import UnsupportedCommandError
from cachemesh.core.placement import Placement
from cachemesh.core.planning.plan import plan_known, to_one_shard
from cachemesh.core.planning.split import CommandPlan

Calls: TypeAlias = "Sequence[Args]"
Asking: TypeAlias = "Generator[Args, Any, CommandPlan]"


def resolve(args: Args, placement: Placement, registry: CommandRegistry) -> Asking:
    """Plan a call for which `plan` raised `UnknownCommandError`.

    Args:
        args: the call.
        placement: decides which shard owns which key.
        registry: the commands that are known; learns new ones.

    Yields:
        Commands for any one server. The caller sends the reply back, an error reply as an
        exception.

    Returns:
        The plan.

    Raises:
        UnsupportedCommandError: no server tells where the keys are, for instance because of an ACL.
        CrossShardError, UnsupportedCommandError, InvalidKeyError: as
            `cachemesh.core.planning.plan.plan`.
    """
    command, words = registry.look_up(args)
    if command is None:
        reply = yield command_info_request(words)
        if isinstance(reply, ResponseError):
            raise _unknown_keys(words, reply) from reply
        command = registry.learn(words, reply)
        if command is None:
            return to_one_shard(Command(words[0]), words, placement.names[0])
        words = registry.look_up(words)[1]
    keys: Sequence[Any] = [words[at] for at in key_positions(command, words)]
    if not command.all_keys_known:
        keys = yield from _ask_for_keys(words)
    return plan_known(command, words, keys, placement)


def resolve_all(
    calls: Calls, placement: Placement, registry: CommandRegistry
) -> Generator[Args, Any, dict[int, CommandPlan]]:
    """Plan those of many calls that `plan` cannot plan alone.

    Args:
        calls: the calls.
        placement, registry: as for `resolve`.

    Yields:
        As `resolve`.

    Returns:
        ``id`` of the call's arguments -> plan.

    Raises:
        CacheMeshError: as `resolve`.
    """
    plans: dict[int, CommandPlan] = {}
    for args in calls:
        if not registry.knows(args):
            plans[id(args)] = yield from resolve(args, placement, registry)
    return plans


def _ask_for_keys(words: Args) -> Generator[Args, Any, Sequence[Any]]:
    reply = yield ("COMMAND", "GETKEYS", *words)
    if not isinstance(reply, ResponseError):
        return list(reply)
    if "no key arguments" in str(reply):
        return []
    raise _unknown_keys(words, reply) from reply


def _unknown_keys(words: Args, error: ResponseError) -> UnsupportedCommandError:
    return UnsupportedCommandError(
        f"{words[0]} is not known to CacheMesh, and the server does not tell its keys: {error}; "
        "allow the client's user COMMAND, or use redis-py on one instance"
    )
