"""What a resize that moves keys will do to the shards, as far as a look at them tells.

samples and memory of the shards --> keys and bytes of each pair --> memory after, warnings
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from metaserver.domain.key_sample import BigKey, Estimate, ShardSample, added, biggest
from metaserver.domain.large_keys import too_large
from metaserver.domain.migration_time import MoveSpeed, Moving, blocked_by, felt, seconds
from metaserver.domain.planning import ChangePlan
from metaserver.domain.shard_memory import ShardMemory

Pair: TypeAlias = tuple[str, str]
"""The shard that keys leave, and the one that they go to."""


@dataclass(frozen=True)
class MigrationPlan:
    """What is known of a resize before it begins.

    Attributes:
        plan: what it changes.
        big_key: bytes from which on a key is big.
        memory: shard -> its memory by now.
        samples: shard that loses keys -> those that were looked at.
        unknown: shard -> why it told nothing.
        speed: how fast test keys moved; None if that was not tried.
    """

    plan: ChangePlan
    big_key: int
    memory: Mapping[str, ShardMemory] = field(default_factory=dict)
    samples: Mapping[str, ShardSample] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    speed: MoveSpeed | None = None

    @property
    def pairs(self) -> list[Pair]:
        """Each shard that loses keys with each that gains some of them, in name order."""
        planned = {(move.source, move.target) for move in self.plan.moves.by_pair}
        seen = {(shard, to) for shard, sample in self.samples.items() for to in sample.targets}
        return sorted(planned | seen)

    @property
    def big_keys(self) -> list[BigKey]:
        """The biggest keys of those that were looked at and move."""
        return biggest(key for sample in self.samples.values() for key in sample.big)

    @property
    def warnings(self) -> list[str]:
        """What is not known, which keys are too large, which shards have too little memory."""
        unknown = [
            f"what moves from and to shard {shard} is not known: {why}"
            for shard, why in sorted(self.unknown.items())
        ]
        lacking = [
            memory.lack_of(shard, after)
            for shard, memory in sorted(self.memory.items())
            if shard in self.plan.gainers and (after := self.memory_after(shard)) is not None
        ]
        large = too_large(self.big_keys)
        if large is not None:
            unknown.append(f"the resize will not begin: {large}")
        return [*unknown, *(warning for warning in lacking if warning is not None)]

    def keys(self, pair: Pair) -> Estimate | None:
        """Return how many keys move between two shards, or None if that is not known."""
        sample = self.samples.get(pair[0])
        return None if sample is None else sample.keys_to(pair[1])

    def bytes(self, pair: Pair) -> Estimate | None:
        """Return how many bytes move between two shards, or None if that is not known."""
        sample = self.samples.get(pair[0])
        return None if sample is None else sample.bytes_to(pair[1])

    @property
    def moving(self) -> dict[Pair, Moving]:
        """What moves, of the pairs of which that is known."""
        found = {pair: (self.keys(pair), self.bytes(pair)) for pair in self.pairs}
        return {
            pair: Moving(keys, taken)
            for pair, (keys, taken) in found.items()
            if keys is not None and taken is not None
        }

    @property
    def seconds(self) -> Estimate | None:
        """How long the leader takes to move all keys, or None if that is not known."""
        if self.speed is None or len(self.moving) < len(self.pairs):
            return None
        return seconds(self.plan, self.moving, self.speed)

    def memory_after(self, shard: str) -> Estimate | None:
        """Return the bytes that a shard uses in the end, or None if that is not known."""
        gained = [self.bytes(pair) for pair in self.pairs if pair[1] == shard]
        lost = [self.bytes(pair) for pair in self.pairs if pair[0] == shard]
        memory = self.memory.get(shard)
        if memory is None or None in gained or None in lost:
            return None
        return memory.after(
            [each for each in gained if each is not None],
            [each for each in lost if each is not None],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as docs/api.md shows it."""
        concerned = sorted({*self.plan.losers, *self.plan.gainers})
        return {
            "keys": _told(self._in_all(self.keys)),
            "bytes": _told(self._in_all(self.bytes)),
            "pairs": [
                {
                    "source": pair[0],
                    "target": pair[1],
                    "keys": _told(self.keys(pair)),
                    "bytes": _told(self.bytes(pair)),
                }
                for pair in self.pairs
            ],
            "sources": [self._source(shard) for shard in self.plan.losers],
            "big_key": self.big_key,
            "big_keys": [
                {**key.to_dict(), "blocks_seconds": round(blocked_by(key), 3)}
                for key in self.big_keys
            ],
            "memory": [self._memory(shard) for shard in concerned],
            "seconds": None if self.seconds is None else _in_hundredths(self.seconds),
            "rests_on": "" if self.speed is None else self.speed.told,
            "feel": felt(self.plan, self.big_keys),
        }

    def _in_all(self, estimate: Callable[[Pair], Estimate | None]) -> Estimate | None:
        """Return the sum over all pairs, or None if one of them is not known."""
        found = [estimate(pair) for pair in self.pairs]
        return None if None in found else added(each for each in found if each is not None)

    def _source(self, shard: str) -> dict[str, Any]:
        sample = self.samples.get(shard)
        return {
            "shard": shard,
            "keys": None if sample is None else sample.keys,
            "looked_at": 0 if sample is None else sample.looked_at,
            "complete": sample is not None and sample.complete,
            "error": self.unknown.get(shard),
        }

    def _memory(self, shard: str) -> dict[str, Any]:
        memory = self.memory.get(shard)
        return {
            "shard": shard,
            "used": None if memory is None else memory.used,
            "after": _told(self.memory_after(shard)),
            "maxmemory": None if memory is None else memory.most,
            "policy": None if memory is None else memory.policy,
            "error": self.unknown.get(shard),
        }


def _in_hundredths(estimate: Estimate) -> dict[str, float]:
    told = {"estimate": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: round(number, 2) for name, number in told.items()}


def _told(estimate: Estimate | None) -> dict[str, int] | None:
    return None if estimate is None else estimate.to_dict()
