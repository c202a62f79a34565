"""How long a move takes, and what clients feel of it, as far as that can be told beforehand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cachemesh.core.migration.stages import stages
from cachemesh.core.plurals import counted
from metaserver.domain.key_sample import BigKey, Estimate
from metaserver.domain.planning import ChangePlan
from metaserver.domain.resize_steps import HOLD, LONGEST_HOLD
from metaserver.domain.shard_memory import in_units

MOST_VALUE = 4096  # bytes of a test key's value
STRINGS, OTHERS = 300e6, 30e6
"""Bytes a second at which one key is copied: a string as fast as a quick network carries it; of
other types each element is built anew. Source: docs/resizing.md, Limits."""
_SHOWN = 40  # characters of a key's name


@dataclass(frozen=True)
class Moving:
    """What moves between two shards."""

    keys: Estimate
    bytes: Estimate

    @property
    def mean(self) -> float:
        """The bytes of a key."""
        return self.bytes.value / self.keys.value if self.keys.value else 0.0


@dataclass(frozen=True)
class MoveSpeed:
    """How fast test keys moved.

    Attributes:
        source, target: from where to where.
        value: bytes of each one's value.
    """

    source: str
    target: str
    keys_per_second: float
    value: int

    def seconds(self, keys: float, moving: Moving) -> float:
        """Return how long so many of the keys take: larger ones than the test keys take longer."""
        return keys * max(1.0, moving.mean / max(1, self.value)) / self.keys_per_second

    @property
    def told(self) -> str:
        """What an estimate rests on, in words."""
        return (
            f"test keys of {in_units(self.value)} moved from {self.source} to {self.target} at "
            f"{self.keys_per_second:,.0f} keys a second, just now"
        )


def seconds(
    plan: ChangePlan, moving: Mapping[tuple[str, str], Moving], speed: MoveSpeed
) -> Estimate:
    """Return how long the leader takes to move all keys, one stage after the other.

    A source moves one batch after the other, and a target takes those of one source at a time.

    Args:
        plan: its `keys_per_second` bounds all sources together.
        moving: by source and target.
        speed: of one source and one target.
    """
    return Estimate(
        *(
            _seconds(plan, moving, speed, of)
            for of in (lambda keys: keys.value, lambda keys: keys.low, lambda keys: keys.high)
        )
    )


def _seconds(
    plan: ChangePlan,
    moving: Mapping[tuple[str, str], Moving],
    speed: MoveSpeed,
    of: Callable[[Estimate], float],
) -> float:
    if plan.before is None or plan.after is None:
        return 0.0
    found = stages(plan.before.placement, plan.after.placement)
    total = 0.0
    for stage in range(found.count):
        now = {pair: each for pair, each in moving.items() if found.of(*pair) == stage}
        pace = plan.keys_per_second / max(1, len({source for source, _ in now}))
        busy: dict[tuple[str, str], float] = defaultdict(float)
        for (source, target), each in now.items():
            keys = of(each.keys)
            alone = speed.seconds(keys, each)
            busy["source", source] += max(alone, keys / pace) if pace else alone
            busy["target", target] += alone
        total += max(busy.values(), default=0.0)
    return total


def blocked_by(key: BigKey) -> float:
    """Return the seconds for which a big key's shards serve nobody else while it is copied."""
    return key.size / (STRINGS if key.kind == "string" else OTHERS)


def felt(plan: ChangePlan, big_keys: list[BigKey]) -> list[str]:
    """Return what clients will feel of the move, one sentence each."""
    if plan.before is None or plan.after is None:
        return []
    count = stages(plan.before.placement, plan.after.placement).count
    often = f" before each of {count} stages" if count > 1 else ""
    told = [
        f"commands on keys that move are held{often} for up to {1000 * HOLD:.0f} ms; if a client "
        f"lags, again and for up to {1000 * LONGEST_HOLD:.0f} ms",
        "the first write to each key that moves takes a round trip between its shards more",
    ]
    if big_keys:
        key = big_keys[0]
        more = (
            ""
            if len(big_keys) == 1
            else f", and shorter for {counted(len(big_keys) - 1, 'smaller one')}"
        )
        told.append(
            f"{key.source} and {key.target} serve nobody for about "
            f"{1000 * blocked_by(key):,.0f} ms while big key {key.text(_SHOWN)!r} of "
            f"{in_units(key.size)} is copied{more}"
        )
    return told
