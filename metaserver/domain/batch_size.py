"""How many keys are copied at once, so that their source is not blocked for long."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

BLOCKED = 0.001  # seconds for which a source serves nobody else, about
SMALLEST, FIRST, LARGEST = 8, 16, 500  # keys
_WINDOW = 8  # batches
_FAR_MORE = 4  # times as long as expected: its keys are larger than those before


@dataclass
class BatchSize:
    """The size of the next batch, learned from how long each one has taken.

    A process that waits for a core takes longer, and a smaller batch would take as long. So what
    counts is the faster part of the last batches. One that took far longer halves the next at once.
    """

    size: int = FIRST
    _costs: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))

    def took(self, seconds: float, keys: int) -> None:
        """Learn from a batch.

        Args:
            seconds: for which its source served nobody else.
            keys: how many it had.
        """
        self._costs.append(max(seconds, 1e-6) / keys)
        typical = sorted(self._costs)[len(self._costs) // 4]
        fits = min(BLOCKED / typical, 2.0 * self.size)
        if seconds > _FAR_MORE * BLOCKED:
            fits = min(fits, self.size / 2)
        self.size = int(min(max(fits, SMALLEST), LARGEST))
