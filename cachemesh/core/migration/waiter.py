"""What somebody still waits for of the keys that move, and which of them to ask for next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cachemesh.core.migration.pull import IDLE_MS, LONGEST_IDLE_MS

BATCH = 32
"""Keys of one pull. While they are copied the source serves nobody else."""

_LONGER = 4  # times as long may the target take to answer in the next attempt, each time


@dataclass(eq=False)
class Waiter:
    """Somebody who waits for keys.

    Attributes:
        left: keys that the source may still have.
        slow: keys that an attempt was too slow with, the last one at the end.
        shares: with others, who pull each other's keys too. Not once an attempt has failed in a way
            that may be due to one of the keys.
        idle: milliseconds that the source waits for the target.
        why: the last attempt did not end.
    """

    left: set[bytes]
    slow: dict[bytes, None] = field(default_factory=dict)
    shares: bool = True
    idle: int = IDLE_MS
    why: Exception | None = None

    def some(self) -> list[bytes]:
        """Return the keys of the next attempt; none if others have pulled them all."""
        left = list(self.left)
        if self.slow:
            quick = [key for key in left if key not in self.slow]
            left = quick or [key for key in self.slow if key in self.left][:1]
        return left[:BATCH]

    def was_slow(self, keys: Sequence[bytes]) -> None:
        """Note that an attempt with these keys was too slow."""
        self.shares = False
        if len(keys) == 1:
            self.idle = min(self.idle * _LONGER, LONGEST_IDLE_MS)
        for key in keys:
            self.slow.pop(key, None)  # to be the last one
            self.slow[key] = None
