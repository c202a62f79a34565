"""From a key to whatever object stands for its shard, in one table look-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic

from cachemesh.core.placement.base import Placement, Target


class Routes(Generic[Target]):
    """A placement with a node for each of its shards. Immutable, so threads see one or the other.

    Attributes:
        placement: which shard owns which key.
        nodes: shard name -> node.
        find: key as bytes -> node. The hot path.
    """

    def __init__(self, placement: Placement, nodes: Mapping[str, Target]) -> None:
        self.placement = placement
        self.nodes = nodes
        self.find: Callable[[bytes], Target] = placement.finder(nodes)
