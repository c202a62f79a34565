"""Splits a command over many keys into one sub-request per shard, and merges the replies. No I/O.

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
    """A shard's share of a request.

    Attributes:
        shard: name of the shard.
        args: the command to send to it, in single words.
    """

    shard: str
    args: Args


class CommandPlan(NamedTuple):
    """Sub-requests that may all be sent at once, and how their replies become one reply.

    Attributes:
        command: the command that is called.
        sub_requests: one per shard, in the order in which the call first uses the shards.
        merge: takes the replies in the order of ``sub_requests`` and returns the command's reply.
        takes_errors: ``merge`` also takes error replies; otherwise the first error is the reply.
    """

    command: Command
    sub_requests: tuple[SubRequest, ...]
    merge: Merge
    takes_errors: bool = False


class SplitRule(NamedTuple):
    """The form of the arguments of a command that can be split.

    Attributes:
        step: size of a group of arguments that belong together; the key comes first.
        merge: replies -> reply; None for lists of one item per key, in the caller's order.
        head, tail: how many arguments before and after the groups go to every shard.
    """

    step: int
    merge: Merge | None
    head: int = 0
    tail: int = 0

    def keys(self, words: Args) -> Args:
        """Return the keys of a call; none if its arguments do not form whole groups."""
        begin, end = 1 + self.head, len(words) - self.tail
        whole = end > begin and (end - begin) % self.step == 0
        return words[begin : end : self.step] if whole else ()


def only_reply(replies: Sequence[Reply]) -> Reply:
    """Return the first reply: the only one, or one of several equal ones."""
    return replies[0]


def all_succeeded(replies: Sequence[Reply]) -> Reply:
    """Return the reply that all shards give, or nil if a sub-request was dropped and got nil."""
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
"""Commands whose keys may be on any number of shards. MSETEX is another; see `split_msetex`."""


def split(
    command: Command, rule: SplitRule, words: Args, placement: Placement, encode: Encode
) -> CommandPlan | None:
    """Split a call into one sub-request for each shard that owns some of its keys.

    Args:
        command: the command that is called.
        rule: the form of its arguments.
        words: the call in single words.
        placement: decides which shard owns which key.
        encode: returns a key as bytes.

    Returns:
        None if the arguments do not form whole groups.

    Raises:
        InvalidKeyError: Redis cannot hold such a key.
    """
    if len(words) == 2 and rule.step == 1 and not rule.head + rule.tail:
        owner = placement.owner(encode(words[1]))
        return CommandPlan(command, (SubRequest(owner, words),), only_reply)
    found = rule.keys(words)
    if not found:
        return None
    keys = encode_keys(found, encode)
    if len(placement.shards) == 1 and placement.stable is placement:
        return CommandPlan(command, (SubRequest(placement.shards[0].name, words),), only_reply)
    return split_among(command, rule, words, keys, placement.owners(keys))


def split_among(
    command: Command, rule: SplitRule, words: Args, keys: Sequence[bytes], owners: Sequence[str]
) -> CommandPlan:
    """Split a call into one sub-request for each of the owners.

    Args:
        command, rule, words: as for `split`.
        keys: of the call, in order.
        owners: of each key.
    """
    step, merge, head, tail = rule
    begin, end = 1 + head, len(words) - tail
    before, groups, after = words[:begin], words[begin:end], words[end:]
    parts = (
        group_by_owner(keys, owners) if step == 1 else _group_runs_by_owner(groups, owners, step)
    )
    sub_requests = tuple(
        [SubRequest(shard, (*before, *part, *after)) for shard, part in parts.items()]
    )
    if len(parts) == 1:
        return CommandPlan(command, sub_requests, only_reply)
    if merge is None:
        merge = in_key_order(parts, owners, [len(part) // step for part in parts.values()])
    return CommandPlan(command, sub_requests, checked_merge(merge, command.name))


def group_by_owner(items: Iterable[T], owners: Sequence[str]) -> dict[str, list[T]]:
    """Return shard -> its items, in their order.

    Args:
        items: anything, such as keys.
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
    """Return keys as bytes.

    Args:
        keys: as an app passes them.
        encode: returns a key as bytes.

    Raises:
        InvalidKeyError: Redis cannot hold such a key.
    """
    if encode is key_bytes:
        try:
            raw = list(map(str.encode, keys))
        except TypeError:
            pass  # some key is not a str
        else:
            if len(b"".join(raw)) <= MAX_KEY_BYTES:
                return raw
    return list(map(encode, keys))


def split_msetex(command: Command, words: Args, owners: Sequence[str]) -> CommandPlan | None:
    """Split MSETEX numkeys key value [key value ...] [options].

    With NX or XX the command sets all keys or none, which several shards cannot guarantee.

    Args:
        command: the command that is called.
        words: the call in single words.
        owners: the shard of each key.

    Returns:
        None if the call cannot be split.
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
    return CommandPlan(command, tuple(sub_requests), checked_merge(min, command.name))
