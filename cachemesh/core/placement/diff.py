"""The keys that a change of placement moves."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import md5

from cachemesh.core.placement.base import Overlap, Placement
from cachemesh.core.placement.slots import SlotsPlacement

SAMPLE_KEYS = 20_000
"""How many keys are tried where no exact result exists; a share is then within 0.015 (four sigma).
"""


@dataclass(frozen=True)
class Move:
    """How much of the key space moves from ``source`` to ``target``.

    Attributes:
        source, target: shard names.
        slots: how many slots; 0 unless both placements have slots.
        share: of all keys, 0 to 1.
    """

    source: str
    target: str
    slots: int
    share: float = 0.0


@dataclass(frozen=True)
class Moves:
    """What a change of placement moves.

    Attributes:
        by_pair: one move for each pair of shards.
        slots: how many slots move in all; 0 unless both placements have slots.
        share: of all keys, 0 to 1.
        sampled: the shares are estimates, and a pair that exchanges very few keys may be missing.
            Any shard of the placement before may then hold keys of another.
    """

    by_pair: tuple[Move, ...]
    slots: int
    share: float
    sampled: bool = False


def moves(before: Placement, after: Placement) -> Moves:
    """Work out what a change of placement moves.

    The result is exact between two `slots` placements, and within one strategy with the same hash
    and hash tag. Otherwise it is estimated from 20,000 fixed keys.

    Args:
        before: the placement before the change.
        after: the placement after the change.
    """
    exact = before.overlap(after)
    found = exact or _sampled(before, after)
    in_slots = isinstance(before, SlotsPlacement) and isinstance(after, SlotsPlacement)
    by_pair = tuple(
        Move(source, target, count if in_slots else 0, count / found.total)
        for (source, target), count in sorted(found.moved.items())
    )
    total = sum(found.moved.values())
    return Moves(by_pair, total if in_slots else 0, total / found.total, exact is None)


@lru_cache(maxsize=4)  # a resize is looked at from several sides, some while commands are held
def _sampled(before: Placement, after: Placement) -> Overlap:
    pairs = Counter((before.owner(key), after.owner(key)) for key in _sample())
    return Overlap({pair: n for pair, n in pairs.items() if pair[0] != pair[1]}, SAMPLE_KEYS)


@cache
def _sample() -> tuple[bytes, ...]:
    """Return fixed keys of 16 hexadecimal digits without a pattern."""
    return tuple(md5(b"%d" % i).hexdigest()[:16].encode() for i in range(SAMPLE_KEYS))
