"""Which shard owned a key when, and which acknowledged writes ran elsewhere."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cachemesh.core.placement import Placement

_CLOCKS = 0.01  # seconds by which an event and a server's clock may differ: both are rounded


@dataclass
class PlacementHistory:
    """The placements of a pool, one after the other.

    Args:
        first: the placement at the beginning.
        shards: port of a master -> its shard.

    Attributes:
        began: since when each placement holds, in seconds since the epoch.
        placements: in the same order.
    """

    first: Placement
    shards: Mapping[int, str]
    began: list[float] = field(default_factory=list)
    placements: list[Placement] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.began.append(0.0)
        self.placements.append(self.first)

    def add(self, at: str, placement: Placement) -> None:
        """Note a resize.

        Args:
            at: the time of its event, which the store has logged before anybody was told.
        """
        self.began.append(datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp())
        self.placements.append(placement)

    def owners(self, key: str, at: float) -> set[str]:
        """Return the shards that may have owned the key then."""
        first = bisect_right(self.began, at - _CLOCKS) - 1
        last = bisect_right(self.began, at + _CLOCKS) - 1
        return {each.shard_for(key) for each in self.placements[first : last + 1]}

    def misplaced(
        self, names: Sequence[str], located: Sequence[tuple[int, int, int, int]]
    ) -> list[str]:
        """Return the acknowledged writes that ran at a shard which did not own the key."""
        found = []
        for port, key, sequence, micros in located:
            owners = self.owners(names[key], micros / 1e6)
            if self.shards[port] not in owners:
                where = f"at {self.shards[port]}, not at {', '.join(owners)}"
                found.append(f"{micros / 1e6:.3f} {names[key]}, {sequence}: {where}")
        return found
