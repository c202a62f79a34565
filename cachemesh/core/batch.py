"""A pipeline becomes one batch per shard, and the shards' replies one list in order. No I/O.

GET a, MGET b c, INCR d  --plan_batch-->  cache-0: GET a, MGET c
                                          cache-1: MGET b, INCR d
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cachemesh.core.commands import FIRST_KEY
from cachemesh.core.hashing import key_bytes
from cachemesh.core.placement import Placement
from cachemesh.core.plan import Args, Reply, plan

Merge = Callable[[Sequence[Reply]], Reply]


@dataclass
class Batch:
    """Commands for several shards, in the order of the caller within each shard.

    Attributes:
        parts: shard name -> what to send to it, in order.
        split: position of a command that goes to several shards -> how to merge its replies.
        homes: per command the (shard, place in that shard's part) of each of its requests.
    """

    parts: dict[str, list[Args]] = field(default_factory=dict)
    split: dict[int, Merge] = field(default_factory=dict)
    homes: list[tuple[tuple[str, int], ...]] = field(default_factory=list)

    def merge(self, replies: Mapping[str, Sequence[Reply]]) -> list[Reply]:
        """Per command its reply, or the first error among the replies of its shards."""
        merged = [replies[shard][place] for ((shard, place), *_) in self.homes]
        for at, merge in self.split.items():
            found = [replies[shard][place] for shard, place in self.homes[at]]
            failed = next((reply for reply in found if isinstance(reply, Exception)), None)
            merged[at] = merge(found) if failed is None else failed
        return merged


def plan_batch(commands: Sequence[Args], placement: Placement) -> Batch:
    """Where the commands of a pipeline go.

    Raises:
        CrossShardError, UnsupportedCommandError, InvalidKeyError: as `cachemesh.core.plan.plan`;
            nothing of the pipeline is to be sent then.
    """
    batch = Batch()
    parts, homes, owner = batch.parts, batch.homes, placement.owner
    for args in commands:
        if len(args) > 1 and args[0] in FIRST_KEY:
            key = args[1]
            shard = owner(key if type(key) is bytes else key_bytes(key))
            part = parts.get(shard)
            if part is None:
                part = parts[shard] = []
            homes.append(((shard, len(part)),))
            part.append(args)
            continue
        planned = plan(args, placement, key_bytes)
        places = []
        for request in planned.requests:
            part = parts.setdefault(request.shard, [])
            places.append((request.shard, len(part)))
            part.append(request.args)
        if len(places) > 1:
            batch.split[len(homes)] = planned.merge
        homes.append(tuple(places))
    return batch


def is_repeatable(commands: Sequence[Args]) -> bool:
    """Whether none of the commands changes anything, as far as Redis tells."""
    return all(FIRST_KEY.get(args[0], False) for args in commands)
