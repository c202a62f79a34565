"""How fast the leader moves keys: no faster than an operator says, nor than the shards bear.

keys a second     of all shards together
max latency       each batch is preceded by a rest, longer while a shard answers too slowly
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

_FIRST_REST = 0.002  # seconds
_LONGEST_REST = 1.0
_SLOW_START = 0.02
_LONGER, _SHORTER = 1.5, 0.9  # times as long is the next rest
_ADJUSTED_EVERY = 0.1  # seconds
_KEPT = 20  # answers of a shard that count
_MOSTLY = 0.9  # this share of them has to be in time


def in_words(pace: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return what a change of the pace does, in a verb and in steps.

    Args:
        pace: some of ``paused``, ``keys_per_second``, ``max_latency``.
    """
    told = []
    if (paused := pace.get("paused")) is not None:
        told.append("move no more keys until it is resumed" if paused else "go on moving keys")
    if (keys := pace.get("keys_per_second")) is not None:
        told.append(
            f"move at most {keys:,} keys a second" if keys else "have no bound on keys a second"
        )
    if (most := pace.get("max_latency")) is not None:
        told.append(
            f"move more slowly while a shard takes longer than {most:,} ms to answer"
            if most
            else "have no bound on how long a shard takes to answer"
        )
    if list(pace) == ["paused"]:
        return "pause" if pace["paused"] else "resume", told
    return "set the pace of", told


@dataclass
class KeysPerSecond:
    """When the next keys may be moved.

    Args:
        most: keys a second; 0 for no bound.
    """

    most: int
    _due: float = 0.0

    def delay(self, now: float, keys: int) -> float:
        """Return the seconds until so many more keys may be moved, which then counts them.

        Args:
            now: monotonic seconds.
        """
        if not self.most:
            return 0.0
        wait = max(0.0, self._due - now)
        self._due = max(self._due, now) + keys / self.most
        return wait


@dataclass
class Rests:
    """How long the move of a source rests after each batch, so that shards answer within a bound.

    One slow answer may be an accident of the machine; what counts is whether one in ten is slow.

    Args:
        most: seconds that a shard may take to answer; 0 for no bound.

    Attributes:
        seconds: to rest after a batch.
        shards: those that are to answer in time.
    """

    most: float
    seconds: float = field(init=False)
    shards: set[str] = field(default_factory=set)
    _answers: dict[str, deque[float]] = field(default_factory=dict)
    _adjusted: float = 0.0

    def __post_init__(self) -> None:
        self.seconds = _SLOW_START if self.most else 0.0

    def answered(self, shard: str, seconds: float, now: float) -> None:
        """Learn from how long a shard took to answer.

        Args:
            now: monotonic seconds.
        """
        answers = self._answers.setdefault(shard, deque(maxlen=_KEPT))
        answers.append(seconds)
        if not self.most or now - self._adjusted < _ADJUSTED_EVERY:
            return
        self._adjusted = now
        if any(map(self._is_slow, self._answers.values())):
            self.seconds = min(_LONGEST_REST, max(_FIRST_REST, _LONGER * self.seconds))
        else:
            self.seconds = 0.0 if self.seconds < _FIRST_REST else _SHORTER * self.seconds

    def forget(self) -> None:
        """Forget the shards and what they have answered, not how long to rest."""
        self.shards.clear()
        self._answers.clear()

    def _is_slow(self, answers: Collection[float]) -> bool:
        return sorted(answers)[int(_MOSTLY * len(answers))] > self.most
