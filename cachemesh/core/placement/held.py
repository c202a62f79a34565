"""Placement while a resize is prepared: keys that are about to move have no owner to be asked.

Source: the phases of a resize, docs/architecture.md, "A resize".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cachemesh.core.placement.base import Overlap, Placement, Shard, Target
from cachemesh.core.placement.diff import moves
from cachemesh.core.rerouting import KeyHeldError


class HeldPlacement(Placement):
    """A placement of which some keys are about to move to where another one has them.

    Args:
        before: the placement of now.
        after: the placement of the resize.

    `owner`, and what `finder` returns, raise `KeyHeldError` for a key whose owners differ.
    """

    def __init__(self, before: Placement, after: Placement) -> None:
        self._before = before
        self._after = after
        self.shards = before.shards
        self.owner = _guarded(before, after)

    @property
    def stable(self) -> Placement:
        return self._before

    def same(self, other: HeldPlacement) -> bool:
        """Return whether the same keys move from and to the same shards."""
        return (self._before, self._after) == (other._before, other._after)

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> Placement:
        """Refuse: a document has two placements, and a migration, instead."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, object]:
        return self._before.to_dict()

    def finder(self, targets: Mapping[str, Target]) -> Callable[[bytes], Target]:
        owner, own = self.owner, {name: targets[name] for name in self.names}
        return lambda key: own[owner(key)]

    def with_shards(self, shards: Sequence[Shard]) -> Placement:
        return self._before.with_shards(shards)

    def share(self, name: str) -> float:
        return self._before.share(name)

    def overlap(self, after: Placement) -> Overlap | None:
        return self._before.overlap(after)

    def __hash__(self) -> int:
        return hash(self._before)

    __eq__ = Placement.__eq__


def _guarded(before: Placement, after: Placement) -> Callable[[bytes], str]:
    owner_before, owner_after = before.owner, after.owner

    def owner(key: bytes) -> str:
        name = owner_before(key)
        if owner_after(key) != name:
            raise KeyHeldError
        return name

    return owner


def sources(before: Placement, after: Placement) -> frozenset[str]:
    """Return the shards that lose keys in a change of placement.

    Where only trying keys could tell exactly, every shard counts as one that does.
    """
    found = moves(before, after)
    if found.sampled:
        return frozenset(before.names)
    return frozenset(move.source for move in found.by_pair)
