"""Strategy `jedis`: the ring of Jedis 3's `ShardedJedis`, to the bit.

A shard of weight w has 160 * w points. The points are the hashes of ``NAME*n``, or, where shards
have no names, of ``SHARD-i-NODE-n`` with i the index in the list. Source: `Sharded.initialize`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.placement import hash_functions
from cachemesh.core.placement.ring import Ring, RingPlacement

POINTS_PER_WEIGHT = 160
MAX_WEIGHTS = 10_000
"""Highest sum of weights: 1.6 million points, a ring that takes seconds to build."""

_NOT_LINE_END = rb"(?:(?!\n|\r|\xc2\x85|\xe2\x80[\xa8\xa9]).)"
"""Java's ``.`` in UTF-8: any character except a line terminator (`java.util.regex.Pattern`)."""


class JedisPlacement(RingPlacement):
    """A ring of 160 points per unit of weight. Few keys move on a change.

    Attributes:
        named: True if shards are hashed by name, False if by their index in the list.
    """

    strategy = "jedis"
    hashes = hash_functions.JEDIS
    default_hash = "murmur64a"
    named: bool

    def check(self) -> None:
        named = self._extra.get("named", True)
        if not isinstance(named, bool):
            raise InvalidDocumentError(
                f"placement.named is {named!r}, neither true nor false; use one of these"
            )
        self.named = named
        if not named and self.labels != self.names:
            raise InvalidDocumentError(
                "placement.named is false, so shards have no label; remove the labels"
            )
        total = sum(shard.weight for shard in self.shards)
        if total > MAX_WEIGHTS:
            raise InvalidDocumentError(
                f"The weights add up to {total:,}: strategy 'jedis' makes {POINTS_PER_WEIGHT} "
                f"points of each and takes at most {MAX_WEIGHTS:,}; divide them all by the same"
            )

    def hash_of_tag(self, function: Callable[[bytes], int], tag: str) -> Callable[[bytes], int]:
        r"""Return a function that hashes the first match of ``\{(.+?)\}``, or else the whole key.

        The pattern is Jedis's `DEFAULT_KEY_TAG_PATTERN`. Its rule differs from Redis Cluster's: in
        ``x{}y}`` the tag is ``}y``.
        """
        opening, closing = (re.escape(character.encode()) for character in tag)
        search = re.compile(opening + b"(" + _NOT_LINE_END + b"+?)" + closing, re.DOTALL).search

        def digest(key: bytes) -> int:
            found = search(key)
            return function(key if found is None else found[1])

        return digest

    def build(self) -> Ring:
        weights = tuple(shard.weight for shard in self.shards)
        return ring_of(self.labels if self.named else (), weights, self.hash)


@lru_cache(maxsize=8)
def ring_of(labels: tuple[str, ...], weights: tuple[int, ...], hash_name: str) -> Ring:
    """Build the ring. Where two points coincide, the later shard owns the point.

    Args:
        labels: what each shard is hashed by; empty to hash indexes.
        weights: of the shards, in the same order.
        hash_name: a key of `hash_functions.JEDIS`.
    """
    function, span = hash_functions.JEDIS[hash_name].function, hash_functions.JEDIS[hash_name].span
    owner_of: dict[int, int] = {}
    for position, weight in enumerate(weights):
        prefix = f"{labels[position]}*" if labels else f"SHARD-{position}-NODE-"
        for number in range(POINTS_PER_WEIGHT * weight):
            owner_of[function(f"{prefix}{number}".encode())] = position
    return Ring(owner_of, span)
