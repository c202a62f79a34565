"""Plans a command: sub-requests for shards, and how their replies become one reply. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cachemesh.core.commands.registry import TABLE_REGISTRY, CommandRegistry
from cachemesh.core.commands.spec import COMMANDS, Args, Command, key_positions, sort_options
from cachemesh.core.errors import CrossShardError, UnsupportedCommandError, shown
from cachemesh.core.placement import Placement
from cachemesh.core.placement.keys import key_bytes
from cachemesh.core.planning.keyless import ALWAYS_REFUSED, rule_of
from cachemesh.core.planning.merge import Reply, any_success, checked_merge, each_once
from cachemesh.core.planning.scan_cursor import (
    MasterOf,
    next_cursor,
    no_master,
    scan_position,
    server_scan,
)
from cachemesh.core.planning.split import (
    SPLIT_RULES,
    CommandPlan,
    Encode,
    SubRequest,
    only_reply,
    split,
    split_msetex,
)
from cachemesh.core.rerouting import KeyHeldError


class UnknownCommandError(UnsupportedCommandError):
    """Neither the table nor the registry has the command, so a server has to be asked.

    See `cachemesh.core.planning.unknown_commands`.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Unknown command {shown(name)}: CacheMesh cannot tell its keys, so not which shard "
            "to ask"
        )


def plan(
    args: Sequence[Any],
    placement: Placement,
    encode: Encode = key_bytes,
    registry: CommandRegistry = TABLE_REGISTRY,
    master_of: MasterOf = no_master,
) -> CommandPlan:
    """Plan a command.

    Args:
        args: as given to ``execute_command``.
        placement: decides which shard owns which key.
        encode: returns a key as bytes.
        registry: the commands that are known.
        master_of: returns the current master of a shard; SCAN's cursors depend on the master.

    Returns:
        The sub-requests and how their replies are merged.

    Raises:
        CrossShardError: the keys are on several shards, and the command cannot be split.
        UnsupportedCommandError: the command has no meaning on several shards or on a shared
            connection.
        InvalidKeyError: Redis cannot hold such a key.
        InvalidCursorError: a SCAN with a cursor that SCAN of a pool did not return.
        UnknownCommandError: the command is not known, and the pool has several shards, or is about
            to.
        KeyHeldError, KeyMovingError: as `MigratingPlacement`; KeyHeldError for `REMOVES_ALL`, too.
    """
    name = args[0] if args else None
    command: Command | None
    if type(name) is str and name in SPLIT_RULES:
        command, words = COMMANDS[name], tuple(args)
    else:
        command, words = registry.look_up(tuple(args))
        if command is None or not command.all_keys_known:
            if _keys_matter(placement):
                raise UnknownCommandError(words[0])
            command = command or Command(words[0])
    rule = SPLIT_RULES.get(command.name)
    if rule is not None:
        planned = split(command, rule, words, placement, encode)
        if planned is not None:
            return planned
    keys = [words[at] for at in key_positions(command, words)]
    return plan_known(command, words, keys, placement, encode, master_of)


def _keys_matter(placement: Placement) -> bool:
    """Return whether a command's keys say where it goes: another shard may be about to get them."""
    return len(placement.shards) > 1 or placement.stable is not placement


def plan_known(
    command: Command,
    words: Args,
    keys: Sequence[Any],
    placement: Placement,
    encode: Encode = key_bytes,
    master_of: MasterOf = no_master,
) -> CommandPlan:
    """Plan a command whose keys are known.

    Args:
        command: the command that is called.
        words: the call in single words.
        keys: the arguments that are keys.
        placement, encode, master_of: as for `plan`.

    Raises:
        CrossShardError, UnsupportedCommandError, InvalidKeyError, InvalidCursorError: as `plan`.
    """
    if command.original in ALWAYS_REFUSED:
        raise _always_refused(command)
    owners = placement.owners([encode(key) for key in keys])
    _check_held(command, placement)
    if command.name == "SCAN" and len(words) > 1:
        return _scan(command, words, placement, master_of)
    if len(placement.shards) == 1:
        return to_one_shard(command, words, placement.shards[0].name)
    if owners:
        return _keyed(command, words, keys, owners, placement, encode)
    return _keyless(command, words, placement)


def to_one_shard(command: Command, words: Args, shard: str) -> CommandPlan:
    """Plan the whole command for one shard.

    Args:
        command: the command that is called.
        words: the call in single words.
        shard: name of the shard.
    """
    return CommandPlan(command, (SubRequest(shard, words),), only_reply)


def _keyed(
    command: Command,
    words: Args,
    keys: Sequence[Any],
    owners: list[str],
    placement: Placement,
    encode: Encode,
) -> CommandPlan:
    # A command of SPLIT_RULES that comes here is malformed; any server reports that.
    if command.name not in SPLIT_RULES and any(owner != owners[0] for owner in owners):
        planned = split_msetex(command, words, owners) if command.name == "MSETEX" else None
        if planned is None:
            raise _cross_shard(command, keys, owners)
        return planned
    if command.name in ("SORT", "SORT_RO"):
        _check_patterns(command, words, owners[0], placement, encode)
    return to_one_shard(command, words, owners[0])


def _check_patterns(
    command: Command, words: Args, owner: str, placement: Placement, encode: Encode
) -> None:
    """Refuse a SORT whose BY or GET patterns may name keys of other shards.

    The rule is Redis Cluster's: a pattern without ``*`` names no key, and a pattern with a hash tag
    before its first ``*`` names keys of one slot. Source: redis.io/docs/latest/commands/sort.
    """
    if len(placement.shards) == 1:
        return
    for at in sort_options(words)[1]:
        pattern = encode(words[at])
        before, star, _ = pattern.partition(b"*")
        if pattern == b"#" or not star:
            continue
        tag = str(placement.to_dict().get("hash_tag") or "").encode()
        opening = before.find(tag[:1]) if len(tag) == 2 else -1
        closing = before.find(tag[1:], opening + 1)
        if opening < 0 or closing <= opening + 1 or placement.owner(pattern) != owner:
            raise CrossShardError(
                f"{command.name} looks up {shown(words[at])}, keys that may be on other shards; "
                "give the pattern the hash tag of the sorted key, or look the values up in the app"
            )


def _scan(command: Command, words: Args, placement: Placement, master_of: MasterOf) -> CommandPlan:
    at = scan_position(words[1], placement, master_of)
    asked = master_of(at.shard)

    def merge(replies: Sequence[Reply]) -> list[Reply]:
        cursor, keys = replies[0]
        following = next_cursor(at, int(cursor), placement, asked, master_of(at.shard))
        return [str(following).encode() if isinstance(cursor, bytes) else str(following), keys]

    return CommandPlan(command, (SubRequest(at.shard, server_scan(words, at)),), merge)


def _keyless(command: Command, words: Args, placement: Placement) -> CommandPlan:
    """Plan a command without keys: for all shards, for one, or refused."""
    names = placement.names
    # A command with key specifications, but a call without keys: too few arguments, or a script.
    if command.specs or not command.all_keys_known:
        return to_one_shard(command, words, names[0])
    rule = rule_of(command)
    if rule is None or rule.to == "none":
        raise _refused(command, rule.why if rule is not None else "", len(names))
    if rule.refuses is not None and (why := rule.refuses(words)):
        raise _refused(command, why, len(names))
    if rule.to == "channel" and len(words) > 1:
        return to_one_shard(command, words, placement.stable.owner(key_bytes(words[1])))
    if rule.to != "all":
        return to_one_shard(command, words, names[0])
    # Where keys move, one may be met at both its shards.
    twice = placement.in_order and command.name == "KEYS"
    merge_with = each_once if twice else rule.merge

    def merge(replies: Sequence[Reply]) -> Reply:
        return merge_with(replies, words)

    sub_requests = tuple(SubRequest(name, words) for name in names)
    takes_errors = merge_with is any_success
    checked = checked_merge(merge, command.name, takes_errors)
    return CommandPlan(command, sub_requests, checked, takes_errors)


def keys_of(command: Command, words: Args) -> list[bytes]:
    """Return the keys in a call, or in one shard's sub-request, as bytes.

    Args:
        command: the command that is called.
        words: the call in single words.

    Raises:
        InvalidKeyError: Redis cannot hold such a key.
    """
    return [key_bytes(words[at]) for at in key_positions(command, words)]


def shards_in_transaction(
    args: Sequence[Any], placement: Placement, registry: CommandRegistry = TABLE_REGISTRY
) -> tuple[str, ...]:
    """Return the shards that a command needs within WATCH or MULTI; empty if any shard will do.

    Args:
        args: as given to ``execute_command``.
        placement: decides which shard owns which key.
        registry: the commands that are known.

    Raises:
        UnsupportedCommandError, InvalidKeyError, UnknownCommandError: as `plan`.
    """
    command, words = registry.look_up(tuple(args))
    if command is None or not command.all_keys_known:
        if _keys_matter(placement):
            raise UnknownCommandError(words[0])
        return ()
    if command.original in ALWAYS_REFUSED and command.original not in _TRANSACTION:
        raise _always_refused(command)
    keys = [key_bytes(words[at]) for at in key_positions(command, words)]
    owners = placement.owners(keys)
    _check_held(command, placement)
    if len(placement.shards) == 1 or command.specs or command.original in _TRANSACTION:
        if command.name in ("SORT", "SORT_RO") and owners:
            _check_patterns(command, words, owners[0], placement, key_bytes)
        return tuple(dict.fromkeys(owners))
    rule = rule_of(command)
    if rule is not None and rule.to == "scan":
        return placement.names
    if rule is not None and (rule.to == "one" or command.name == "PING"):
        return ()
    return tuple(request.shard for request in _keyless(command, words, placement).sub_requests)


_TRANSACTION = frozenset({"MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH"})


REMOVES_ALL = frozenset({"FLUSHALL", "FLUSHDB"})
"""The commands that remove all keys, wherever these are."""


def _check_held(command: Command, placement: Placement) -> None:
    """Hold a command that removes all keys while keys are about to move.

    If it came late, keys would have moved to where it is not sent, or where it has been already.
    """
    if placement.holds and command.original in REMOVES_ALL:
        raise KeyHeldError


def _always_refused(command: Command) -> UnsupportedCommandError:
    why = ALWAYS_REFUSED[command.original]
    return UnsupportedCommandError(f"{command.name} is refused: it {why}")


def _refused(command: Command, why: str, shards: int) -> UnsupportedCommandError:
    why = why or "has no key, and nothing says how to spread it; use redis-py on one instance"
    return UnsupportedCommandError(
        f"On a pool of {shards} shards {command.name} is refused: it {why}"
    )


def _cross_shard(command: Command, keys: Sequence[Any], owners: Sequence[str]) -> CrossShardError:
    other = next(i for i, owner in enumerate(owners) if owner != owners[0])
    first, second = shown(keys[0]), shown(keys[other])
    return CrossShardError(
        f"{command.name} needs its keys on one shard, but {first} is on {owners[0]} and {second} "
        f"on {owners[other]}; give them one hash tag, as in {{user:1}}:a and {{user:1}}:b"
    )
