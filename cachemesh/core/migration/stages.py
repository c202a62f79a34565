"""In how many stages keys move, so that no shards ever wait for one another.

MIGRATE blocks the source until the target has answered. Two shards that copy to each other at once,
or several in a circle, wait until a timeout ends one of them. Of two that each had 150 batches to
copy, with a timeout of a second, one had copied 6 after 20 seconds and the other 1. So a move whose
pairs form a circle is made in two stages: first the keys whose target comes after their source in
the order of the names, then the others. In each stage some shard waits for nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from cachemesh.core.placement import Overlap, Placement


@dataclass(frozen=True)
class Stages:
    """The stages of a change of placement. The same for everybody who knows both placements.

    Attributes:
        count: 1 or 2; 0 if no key moves.
        rank: the place of each shard in the order; empty if there is but one stage.
    """

    count: int
    rank: Mapping[str, int]

    def of(self, source: str, target: str) -> int:
        """Return the number of the stage, from 0 on, in which keys move between two shards."""
        return 0 if self.count < 2 or self.rank[source] < self.rank[target] else 1


def stages(before: Placement, after: Placement) -> Stages:
    """Return the stages of a change from one placement to another.

    Where only trying keys could tell which shards exchange keys, any two of them may.
    """
    found = before.overlap(after)
    if found is not None:
        if not found.moved:
            return Stages(0, {})
        if not _has_circle(found):
            return Stages(1, {})
    return Stages(2, ranked(before, after))


def ranked(before: Placement, after: Placement) -> dict[str, int]:
    """Return the place of each shard in the order of two stages."""
    names = sorted({*before.names, *after.names})
    return {name: rank for rank, name in enumerate(names)}


def _has_circle(found: Overlap) -> bool:
    sorter = TopologicalSorter[str]()
    for source, target in found.moved:
        sorter.add(target, source)
    try:
        sorter.prepare()
    except CycleError:
        return True
    return False
