"""Merges the replies of several shards to one command into one reply. No I/O.

Each function takes the shards' replies in placement order and the words of the command. Its result
has the form of one server's reply, so that redis-py's parsers work on it. The first line of its
docstring is a phrase that docs/commands.md quotes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from redis.exceptions import InvalidResponse

from cachemesh.core.commands.command_info import as_text

Reply = Any
Words = Sequence[Any]
MergeWith = Callable[[Sequence[Reply], Words], Reply]


def first(replies: Sequence[Reply], _: Words) -> Reply:
    """the first shard's reply, once all have succeeded"""
    return replies[0]


def added(replies: Sequence[Reply], _: Words) -> Reply:
    """the sum"""
    return sum(replies)


def lowest(replies: Sequence[Reply], _: Words) -> Reply:
    """the lowest; of lists, place by place"""
    if isinstance(replies[0], (list, tuple)):
        return [min(values) for values in zip(*replies, strict=True)]
    return min(replies)


def highest(replies: Sequence[Reply], _: Words) -> Reply:
    """the highest"""
    return max(replies)


def all_true(replies: Sequence[Reply], _: Words) -> list[int]:
    """place by place, 1 if all shards say 1"""
    return [int(all(flags)) for flags in zip(*replies, strict=True)]


def one_after_the_other(replies: Sequence[Reply], _: Words) -> Reply:
    """lists, maps or texts put together"""
    if all(isinstance(reply, Mapping) for reply in replies):
        return {name: value for reply in replies for name, value in reply.items()}
    if isinstance(replies[0], (bytes, str)):
        return replies[0][:0].join(replies)
    return [item for reply in replies for item in reply or ()]


def each_once(replies: Sequence[Reply], words: Words) -> list[Reply]:
    """lists put together, each item once"""
    return list(dict.fromkeys(one_after_the_other(replies, words)))


def list_or_first(replies: Sequence[Reply], words: Words) -> Reply:
    """lists put together; of other replies the first"""
    return one_after_the_other(replies, words) if isinstance(replies[0], list) else replies[0]


def any_found(replies: Sequence[Reply], _: Words) -> Reply:
    """one shard's at random, out of those that are not nil"""
    found = [reply for reply in replies if reply is not None]
    return random.choice(found) if found else None


def added_by_name(replies: Sequence[Reply], _: Words) -> Reply:
    """the sum for each name"""
    sums: dict[Any, int] = {}
    for reply in replies:
        for name, count in _named(reply):
            sums[name] = sums.get(name, 0) + count
    if isinstance(replies[0], Mapping):
        return sums
    return [word for name, count in sums.items() for word in (name, count)]


def newest_first(replies: Sequence[Reply], words: Words) -> list[Reply]:
    """the latest entries of all, newest first, as many as asked for"""
    entries = [entry for reply in replies for entry in reply]
    entries.sort(key=lambda entry: entry[1], reverse=True)
    wanted = int(words[2]) if len(words) > 2 else 10  # Redis's default
    return entries if wanted < 0 else entries[:wanted]


def oldest_first(replies: Sequence[Reply], _: Words) -> list[Reply]:
    """entries of all, oldest first"""
    return sorted((entry for reply in replies for entry in reply), key=lambda entry: entry[0])


def latest_by_name(replies: Sequence[Reply], _: Words) -> list[Reply]:
    """for each event its latest time and latency, and the highest latency"""
    events: dict[Any, list[Any]] = {}
    for reply in replies:
        for name, at, latest, most, *more in reply:
            known = events.setdefault(name, [name, at, latest, most, *more])
            if at > known[1]:
                known[1:3] = at, latest
            known[3] = max(known[3], most)
    return list(events.values())


def busy_or_first(replies: Sequence[Reply], _: Words) -> Reply:
    """that of a shard where a script runs, else the first"""
    for reply in replies:
        if any(as_text(name) == "running_script" and value for name, value in _named(reply)):
            return reply
    return replies[0]


def any_success(replies: Sequence[Reply], _: Words) -> Reply:
    """the first success; an error if no shard succeeds"""
    for reply in replies:
        if not isinstance(reply, Exception):
            return reply
    raise replies[0]


def in_key_order(
    shards: Iterable[str], owners: Sequence[str], counts: Sequence[int]
) -> Callable[[Sequence[Reply]], list[Reply]]:
    """Return a merge of lists that have one item per key; the merge restores the order of the keys.

    Args:
        shards: in the order of their replies.
        owners: the shard that was asked, for each key.
        counts: how many keys each shard was asked for.
    """

    def merge(replies: Sequence[Reply]) -> list[Reply]:
        if list(map(len, replies)) != counts:
            raise InvalidResponse(
                f"Shards gave {list(map(len, replies))} items for {counts} keys; is something "
                "else than Redis listening there?"
            )
        items = dict(zip(shards, map(iter, replies), strict=True))
        return list(map(next, map(items.__getitem__, owners)))

    return merge


def checked_merge(
    merge: Callable[[Sequence[Reply]], Reply], name: str, takes_errors: bool = False
) -> Callable[[Sequence[Reply]], Reply]:
    """Return a merge that raises redis.InvalidResponse if the replies have an unexpected form.

    Args:
        merge: replies -> reply.
        name: of the command, for the message.
        takes_errors: of the merge; otherwise the first error among the replies is raised, so that
            a command which a shard has refused never looks as if it had succeeded.
    """

    def checked(replies: Sequence[Reply]) -> Reply:
        for reply in () if takes_errors else replies:
            if isinstance(reply, Exception):
                raise reply
        try:
            return merge(replies)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise InvalidResponse(
                f"{name}: the shards' replies do not fit together; is something else than Redis "
                "listening there?"
            ) from error

    return checked


def _named(reply: Reply) -> Iterable[tuple[Any, Any]]:
    """Return the pairs of a map, or of RESP2's flat list."""
    if isinstance(reply, Mapping):
        return reply.items()
    return zip(reply[::2], reply[1::2], strict=True)
