"""A command becomes requests to shards, and their replies become one reply. No I/O.

MGET a b c  --plan-->  cache-0: MGET a c     --merge-->  [va, vb, vc]
                       cache-1: MGET b
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cachemesh.core.commands import Command, key_positions, normalize
from cachemesh.core.errors import CrossShardError, UnsupportedCommandError
from cachemesh.core.hashing import key_bytes
from cachemesh.core.placement import Placement

Reply = Any
Args = tuple[Any, ...]


@dataclass(frozen=True)
class Request:
    """Arguments to send to one shard."""

    shard: str
    args: Args


@dataclass(frozen=True)
class Plan:
    """Requests that may all be in flight at once, and how their replies become one.

    Attributes:
        command: what is called.
        requests: one per shard, in placement order of first use.
        merge: replies in the order of ``requests`` -> the reply of the whole command.
    """

    command: Command
    requests: tuple[Request, ...]
    merge: Callable[[Sequence[Reply]], Reply]


def plan(args: Sequence[Any], placement: Placement, encode: Callable[[Any], bytes]) -> Plan:
    """Where a command goes.

    Args:
        args: as given to ``execute_command``.
        placement: which shard owns which key.
        encode: a key as bytes.

    Raises:
        CrossShardError: its keys are on several shards and it cannot be split.
        UnsupportedCommandError: unknown, or without meaning on several shards.
        InvalidKeyError: a key Redis cannot hold.
    """
    command, words = normalize(args)
    positions = key_positions(command, words)
    owners = [placement.owner(encode(words[at])) for at in positions]
    shards = list(dict.fromkeys(owners))
    if len(shards) == 1:
        return Plan(command, (Request(shards[0], words),), _only)
    if len(shards) > 1:
        if command.request_policy != "multi_shard":
            raise _cross_shard(command, words, positions, owners)
        return _split(command, words, positions, owners)
    return _keyless(command, words, placement)


def _only(replies: Sequence[Reply]) -> Reply:
    return replies[0]


def _split(command: Command, words: Args, positions: list[int], owners: list[str]) -> Plan:
    """Multi-key commands: MGET (values in the caller's order), MSET, DEL, EXISTS, TOUCH, UNLINK."""
    step = command.specs[0][1][2]
    parts: dict[str, list[int]] = {}
    for order, owner in enumerate(owners):
        parts.setdefault(owner, []).append(order)
    requests = tuple(
        Request(owner, (words[0], *(w for i in order for w in _group(words, positions[i], step))))
        for owner, order in parts.items()
    )
    if command.name == "MGET":
        return Plan(command, requests, _in_order(list(parts.values()), len(positions)))
    if command.name == "MSETNX":
        raise _cross_shard(command, words, positions, owners)
    return Plan(command, requests, _MERGES[command.response_policy])


def _group(words: Args, at: int, step: int) -> Args:
    return words[at : at + step]


def _in_order(parts: list[list[int]], count: int) -> Callable[[Sequence[Reply]], list[Reply]]:
    def merge(replies: Sequence[Reply]) -> list[Reply]:
        merged: list[Reply] = [None] * count
        for order, reply in zip(parts, replies, strict=True):
            for position, value in zip(order, reply, strict=True):
                merged[position] = value
        return merged

    return merge


def _concatenate(replies: Sequence[Reply]) -> list[Reply]:
    return [item for reply in replies for item in reply]


def _all_of(replies: Sequence[Reply]) -> list[int]:
    return [int(all(flags)) for flags in zip(*replies, strict=True)]


def _any_not_none(replies: Sequence[Reply]) -> Reply:
    found = [reply for reply in replies if reply is not None]
    return random.choice(found) if found else None


_MERGES: dict[str, Callable[[Sequence[Reply]], Reply]] = {
    "all_succeeded": _only,
    "agg_sum": sum,
    "agg_min": min,
    "agg_logical_and": _all_of,
}
_KEYLESS_MERGES: dict[str, Callable[[Sequence[Reply]], Reply]] = {
    "KEYS": _concatenate,
    "PUBSUB CHANNELS": _concatenate,
    "RANDOMKEY": _any_not_none,
}
_ANY_SHARD = frozenset({"COMMAND", "ECHO", "LOLWUT", "TIME"})
_BY_CHANNEL = frozenset({"PUBLISH"})


def _keyless(command: Command, words: Args, placement: Placement) -> Plan:
    """Commands without keys: to all shards, to any, or refused where several have no meaning."""
    names = placement.names
    merge = _KEYLESS_MERGES.get(command.name) or _MERGES.get(command.response_policy)
    if len(names) == 1 or command.name.split(" ")[0] in _ANY_SHARD:
        return Plan(command, (Request(names[0], words),), _only)
    if command.name in _BY_CHANNEL and len(words) > 1:
        return Plan(command, (Request(placement.owner(key_bytes(words[1])), words),), _only)
    if command.request_policy in ("all_shards", "all_nodes") and merge is not None:
        return Plan(command, tuple(Request(name, words) for name in names), merge)
    if command.specs:  # too few arguments: let a server say so
        return Plan(command, (Request(names[0], words),), _only)
    raise UnsupportedCommandError(
        f"{command.name} has no key and no meaning on a pool of {len(names)} shards; "
        "ask one instance directly with redis-py"
    )


def _cross_shard(
    command: Command, words: Args, positions: list[int], owners: list[str]
) -> CrossShardError:
    other = next(i for i, owner in enumerate(owners) if owner != owners[0])
    first, second = (_shown(words[positions[i]]) for i in (0, other))
    return CrossShardError(
        f"{command.name} needs its keys on one shard, but {first} is on {owners[0]} and {second} "
        f"on {owners[other]}; give them one hash tag, as in {{user:1}}:a and {{user:1}}:b"
    )


def _shown(key: object) -> str:
    text = repr(key)
    return text if len(text) <= 60 else text[:57] + "..."
