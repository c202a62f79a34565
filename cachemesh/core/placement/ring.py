"""Rings of points. A hash value belongs to the first point at or after it, or else to the first.

0                            span
|----a----b--a-------c-----b---|
   ^ a             ^ c       ^ a, the first point
"""

from __future__ import annotations

from abc import abstractmethod
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

from cachemesh.core.placement.base import Overlap, Placement, Target
from cachemesh.core.placement.hash_based import HashBasedPlacement

Arc = tuple[int, int]
"""The last hash value of an arc, and its owner."""


class Ring:
    """Points and their owners, given as indexes into a list of shards. Immutable.

    Args:
        owner_of: point -> index of its shard.
        span: hash values are 0 to ``span - 1``; points may lie beyond.

    Attributes:
        points: ascending, without duplicates.
        owners: the owner of each point, followed once more by the owner of the first.
        span: as given.
    """

    def __init__(self, owner_of: Mapping[int, int], span: int) -> None:
        self.points = sorted(owner_of)
        self.owners = array("H", map(owner_of.__getitem__, self.points))
        self.owners.append(self.owners[0])
        self.span = span

    def arcs(self) -> Iterator[Arc]:
        """Yield the arcs in ascending order; together they cover the span."""
        last = self.span - 1
        for point, owner in zip(self.points, self.owners, strict=False):
            if point >= last:
                yield last, owner
                return
            yield point, owner
        yield last, self.owners[-1]

    @cached_property
    def counts(self) -> dict[int, int]:
        """Owner -> how many hash values it owns; an owner of none may be missing."""
        counts: dict[int, int] = {}
        start = 0
        for end, owner in self.arcs():
            counts[owner] = counts.get(owner, 0) + end + 1 - start
            start = end + 1
        return counts

    def overlap(self, other: Ring) -> dict[tuple[int, int], int]:
        """Return how many hash values each pair of owners has in common.

        Args:
            other: a ring of the same span.

        Returns:
            (owner in this ring, owner in the other) -> number of hash values.
        """
        counts: dict[tuple[int, int], int] = {}
        others = other.arcs()
        other_end, other_owner = next(others)
        start = 0
        for end, owner in self.arcs():
            while start <= end:
                cut = min(end, other_end)
                pair = owner, other_owner
                counts[pair] = counts.get(pair, 0) + cut + 1 - start
                start = cut + 1
                if other_end == cut:
                    other_end, other_owner = next(others, (cut, other_owner))
        return counts


class RingPlacement(HashBasedPlacement):
    """A strategy whose shards own arcs of a ring."""

    @abstractmethod
    def build(self) -> Ring:
        """Return the ring of these shards; its owners are indexes into `shards`."""

    @cached_property
    def ring(self) -> Ring:
        """The ring, built at the first access."""
        return self.build()

    def finder(self, targets: Mapping[str, Target]) -> Callable[[bytes], Target]:
        of_shard = [targets[shard.name] for shard in self.shards]
        table = [of_shard[owner] for owner in self.ring.owners]
        points, digest = self.ring.points, self.digest
        return lambda key: table[bisect_left(points, digest(key))]

    def share(self, name: str) -> float:
        return self.ring.counts.get(self.position(name), 0) / self.ring.span

    def overlap(self, after: Placement) -> Overlap | None:
        if not (isinstance(after, RingPlacement) and self.hashes_as(after)):
            return None
        before_names, after_names = self.names, after.names
        moved = {
            (before_names[source], after_names[target]): count
            for (source, target), count in self.ring.overlap(after.ring).items()
            if before_names[source] != after_names[target]
        }
        return Overlap(moved, self.ring.span)
