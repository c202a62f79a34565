"""From a key to whatever object stands for its shard, in one table look-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from cachemesh.core.hashing import key_slot
from cachemesh.core.placement import Placement, SlotsPlacement

Node = TypeVar("Node")


class Routes(Generic[Node]):
    """A placement with a node for each of its shards. Immutable, so threads see one or the other.

    Attributes:
        placement: which shard owns which key.
        nodes: shard name -> node.
        find: key as bytes -> node. The hot path.
    """

    def __init__(self, placement: Placement, nodes: Mapping[str, Node]) -> None:
        self.placement = placement
        self.nodes = nodes
        self.find: Callable[[bytes], Node] = self._finder()

    def _finder(self) -> Callable[[bytes], Node]:
        nodes, placement = self.nodes, self.placement
        if isinstance(placement, SlotsPlacement):
            table = [nodes[name] for name in placement.table]
            return lambda key: table[key_slot(key)]
        owner = placement.owner
        return lambda key: nodes[owner(key)]
