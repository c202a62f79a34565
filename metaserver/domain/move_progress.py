"""How far the keys of a resize have moved, as the leader tells it while they do.

The leader counts in memory, and publishes the counts for all metaservers each second. They tell
operators how it goes; nothing is decided by them. Another leader goes on from what was published.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

SourceState: TypeAlias = Literal["moving", "waits", "done"]

_WINDOW = 10.0  # seconds that a rate is of


@dataclass(frozen=True)
class SourceProgress:
    """How far one shard is in this stage.

    Attributes:
        moved: keys that leaders have moved from it.
        bytes_moved: the memory that they took at the source, estimated; None if that is not known.
        left: keys that have still to leave it, estimated; None as long as nothing is known.
        detail: why it waits, or "".
    """

    shard: str
    state: SourceState = "moving"
    moved: int = 0
    bytes_moved: int | None = None
    left: int | None = None
    detail: str = ""


@dataclass(frozen=True)
class MoveProgress:
    """How far all shards are in a stage of a resize.

    Attributes:
        resize: id of the resize.
        stage, back: of it.
        sources: of each shard that keys move from in this stage.
        keys_per_second: over the last seconds.
    """

    resize: int
    stage: int
    back: bool
    sources: Sequence[SourceProgress]
    keys_per_second: float = 0.0

    def is_of(self, resize: int, stage: int, back: bool) -> bool:
        """Return whether it tells of this stage of a resize."""
        return (self.resize, self.stage, self.back) == (resize, stage, back)

    @property
    def left(self) -> int | None:
        """How many keys have still to move in this stage; None if that is not known."""
        counts = [0 if each.state == "done" else each.left for each in self.sources]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    @property
    def share(self) -> float | None:
        """How much of this stage is done, from 0 to 1, estimated; None if that is not known."""
        left, moved = self.left, sum(each.moved for each in self.sources)
        if left is None:
            return None
        return round(moved / (moved + left), 4) if left else 1.0

    @property
    def seconds_left(self) -> float | None:
        """How long that takes at the rate of the last seconds; None if that is not known."""
        left = self.left
        if left is None or (left and self.keys_per_second <= 0):
            return None
        return round(left / self.keys_per_second, 1) if left else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {**asdict(self), "sources": [asdict(each) for each in self.sources]}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> MoveProgress | None:
        """Return the reverse of `to_dict`; None of what a later release has written otherwise."""
        try:
            sources = [SourceProgress(**each) for each in kept["sources"]]
            return cls(**{**kept, "sources": tuple(sources)})
        except (KeyError, TypeError):
            return None


@dataclass
class Rate:
    """How fast a count grows, over the last seconds."""

    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def at(self, now: float, count: int) -> float:
        """Return how much the count grows each second.

        Args:
            now: monotonic seconds; they do not fall.
            count: as it is now; it does not fall.
        """
        self._seen.append((now, count))
        while len(self._seen) > 2 and now - self._seen[1][0] >= _WINDOW:
            self._seen.popleft()
        since, first = self._seen[0]
        return (count - first) / (now - since) if now > since else 0.0


@dataclass
class SourceCount:
    """What is counted while keys leave one shard; one thread writes, others read.

    How many are left is what the pass over its keys has found so far, for those that it has not
    met yet: SCAN goes through them in an order that has nothing to do with where they belong.
    """

    shard: str
    state: SourceState = "moving"
    detail: str = ""
    moved: int = 0
    _keys: int | None = None  # on the shard when the pass began
    _seen: int = 0
    _leaving: int = 0
    _moved_before: int = 0
    _sized: int = 0
    _bytes: int = 0

    def begin_pass(self, keys: int) -> None:
        """Count anew what a pass finds; ``keys`` are on the shard."""
        self._keys, self._seen, self._leaving, self._moved_before = keys, 0, 0, self.moved

    def scanned(self, seen: int, leaving: int) -> None:
        """Count keys that the pass has met, and those of them that leave."""
        self._seen += seen
        self._leaving += leaving

    def sized(self, size: int) -> None:
        """Learn from the bytes of one of the keys that leave."""
        self._sized += 1
        self._bytes += size

    def told(self) -> SourceProgress:
        """Return what is known now."""
        size = self._bytes / self._sized if self._sized else None
        return SourceProgress(
            self.shard,
            self.state,
            self.moved,
            None if size is None else round(size * self.moved),
            0 if self.state == "done" else self._left(),
            self.detail,
        )

    def _left(self) -> int | None:
        if self._keys is None or (self._keys and not self._seen):
            return None
        unseen = max(0, self._keys - self._seen)
        waiting = max(0, self._leaving - (self.moved - self._moved_before))
        return waiting + (round(unseen * self._leaving / self._seen) if self._seen else 0)
