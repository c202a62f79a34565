"""Commands on many keys become one request a shard, and the replies one reply. No I/O.

MGET a b c   --split-->  cache-0: MGET a c     --merge-->  [va, vb, vc]
                         cache-1: MGET b
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from cachemesh.core.commands.spec import Args, Command, is_word
from cachemesh.core.placement import Placement
from cachemesh.core.placement.keys import MAX_KEY_BYTES, key_bytes
from cachemesh.core.planning.merge import Reply, checked_merge, in_key_order

Merge = Callable[[Sequence[Reply]], Reply]
Encode = Callable[[Any], bytes]
T = TypeVar("T")


class SubRequest(NamedTuple):
    """Arguments to send to one shard."""

    shard: str
    args: Args


class CommandPlan(NamedTuple):
    """Requests that may all be in flight at once, and how their replies become one.

    Attributes:
        command: what is called.
        requests: one per shard, in placement order of first use.
        merge: replies in the order of ``sub_requests`` -> the reply of the whole command.
        takes_errors: ``merge`` takes error replies too; else the first of them is the reply.
    """

    command: Command
    sub_requests: tuple[SubRequest, ...]
    merge: Merge
    takes_errors: bool = False


class SplitRule(NamedTuple):
    """How the arguments of a command that can be split are made up.

    Attributes:
        step: so many arguments belong together, the key first of them.
        head, tail: so many arguments before and after them go to every shard.
        merge: replies -> reply; None for one item a key, in the caller's order.
    """

    step: int
    merge: Merge | None
    head: int = 0
    tail: int = 0


def only_reply(replies: Sequence[Reply]) -> Reply:
    """The one reply there is, or any of several that are all the same."""
    return replies[0]


def all_succeeded(replies: Sequence[Reply]) -> Reply:
    """The one reply they all give; nil if a part got that, as one that was dropped does."""
    return None if None in replies else replies[0]


SPLIT_RULES: dict[str, SplitRule] = {
    "MGET": SplitRule(1, None),
    "MSET": SplitRule(2, all_succeeded),
    "DEL": SplitRule(1, sum),
    "UNLINK": SplitRule(1, sum),
    "EXISTS": SplitRule(1, sum),
    "TOUCH": SplitRule(1, sum),
    "JSON.MGET": SplitRule(1, None, tail=1),
    "JSON.MSET": SplitRule(3, all_succeeded),
    "TS.MADD": SplitRule(3, None),
    "FT.MGET": SplitRule(1, None, head=1),
}
"""Commands whose keys may be on any number of shards; MSETEX is another, see `split_msetex`."""


def split(
    command: Command, shape: SplitRule, words: Args, placement: Placement, encode: Encode
) -> CommandPlan | None:
    """One request for each shard that has keys of a call; None if the call has no whole groups.

    Raises:
        InvalidKeyError: a key Redis cannot hold.
    """
    step, merge, head, tail = shape
    if len(words) == 2 and step == 1 and not head + tail:
        owner = placement.owner(encode(words[1]))
        return CommandPlan(command, (SubRequest(owner, words),), only_reply)
    begin, end = 1 + head, len(words) - tail
    if end <= begin or (end - begin) % step:
        return None
    keys = encode_keys(words[begin:end:step], encode)
    if len(placement.shards) == 1:
        return CommandPlan(command, (SubRequest(placement.shards[0].name, words),), only_reply)
    owners = placement.owners(keys)
    before, groups, after = words[:begin], words[begin:end], words[end:]
    parts = (
        group_by_owner(keys, owners) if step == 1 else _group_runs_by_owner(groups, owners, step)
    )
    sub_requests = tuple(
        [SubRequest(shard, (*before, *part, *after)) for shard, part in parts.items()]
    )
    if len(parts) == 1:
        merge = only_reply
    elif merge is None:
        merge = in_key_order(parts, owners, [len(part) // step for part in parts.values()])
    return CommandPlan(
        command, sub_requests, checked_merge(merge, command.name) if len(parts) > 1 else merge
    )


def group_by_owner(items: Iterable[T], owners: Sequence[str]) -> dict[str, list[T]]:
    """To each shard what is its own, in order.

    Args:
        owners: the shard of each item.
    """
    parts: dict[str, list[T]] = defaultdict(list)
    for item, owner in zip(items, owners, strict=True):
        parts[owner].append(item)
    return dict(parts)


def _group_runs_by_owner(args: Args, owners: Sequence[str], step: int) -> dict[str, list[Any]]:
    parts: dict[str, list[Any]] = {}
    for at, owner in enumerate(owners):
        parts.setdefault(owner, []).extend(args[at * step : (at + 1) * step])
    return parts


def encode_keys(keys: Sequence[Any], encode: Encode) -> list[bytes]:
    """Keys as bytes.

    Raises:
        InvalidKeyError: a key Redis cannot hold.
    """
    if encode is key_bytes:
        try:
            raw = list(map(str.encode, keys))
        except TypeError:
            pass  # not all of them are str
        else:
            if len(b"".join(raw)) <= MAX_KEY_BYTES:
                return raw
    return list(map(encode, keys))


def split_msetex(command: Command, words: Args, owners: Sequence[str]) -> CommandPlan | None:
    """MSETEX numkeys key value [key value ...] [options]; None if it cannot be split.

    With NX or XX it is all keys or none, which several shards cannot promise.
    """
    end = 2 + 2 * len(owners)
    options = words[end:]
    if any(is_word(word, "NX") or is_word(word, "XX") for word in options):
        return None
    parts = _group_runs_by_owner(words[2:end], owners, 2)
    sub_requests = [
        SubRequest(shard, (words[0], len(part) // 2, *part, *options))
        for shard, part in parts.items()
    ]
    return CommandPlan(command, tuple(sub_requests), min)
