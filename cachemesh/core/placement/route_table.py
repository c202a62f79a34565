"""The route table: finds the target that stands for a key's shard in one look-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic

from cachemesh.core.placement.base import Placement, Target


class RouteTable(Generic[Target]):
    """A placement, and a target for each of its shards. Immutable: a change makes a new table.

    Args:
        placement: says which shard owns which key.
        shards: shard name -> target, such as the client of that shard.

    Attributes:
        placement: as given.
        shards: as given.
        find: returns the target for a key given as bytes. On the hot path.

    Raises:
        KeyError: ``shards`` lacks a shard of the placement.
    """

    def __init__(self, placement: Placement, shards: Mapping[str, Target]) -> None:
        self.placement = placement
        self.shards = shards
        self.find: Callable[[bytes], Target] = placement.finder(shards)
