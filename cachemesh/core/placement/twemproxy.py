"""Strategies `ketama` and `modula`: twemproxy's distributions (release 0.5.0), to the bit.

Servers are ordered by label, shorter labels first, whatever the order in the document: twemproxy
sorts them so when it reads its configuration.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, lru_cache
from itertools import accumulate, cycle, islice
from math import floor, lcm
from struct import pack, unpack

from cachemesh.core.placement import hash_functions
from cachemesh.core.placement.base import Overlap, Placement, Target
from cachemesh.core.placement.hash_based import HashBasedPlacement
from cachemesh.core.placement.keys import hash_tag_of
from cachemesh.core.placement.ring import Ring, RingPlacement

POINTS_PER_SERVER = 160
POINTS_PER_DIGEST = 4
MAX_RESIDUES = 1 << 16
"""How many residues are compared one by one; with more, keys are tried instead."""


class TwemproxyPlacement(HashBasedPlacement):
    """A placement with twemproxy's hash functions, hash tag and order of servers."""

    hashes = hash_functions.TWEMPROXY
    default_hash = "fnv1a_64"

    def hash_of_tag(self, function: Callable[[bytes], int], tag: str) -> Callable[[bytes], int]:
        """Hash by Redis Cluster's tag rule with the given characters, as twemproxy does."""
        opening, closing = tag[0].encode(), tag[1].encode()
        code = opening[0]  # looked for faster than a byte

        def digest(key: bytes) -> int:
            return function(hash_tag_of(key, opening, closing) if code in key else key)

        return digest

    def server_order(self) -> list[int]:
        """Return the indexes of the shards in the order of twemproxy's servers."""
        labels = [label.encode() for label in self.labels]
        return sorted(range(len(labels)), key=lambda i: (len(labels[i]), labels[i]))


class KetamaPlacement(TwemproxyPlacement, RingPlacement):
    """A ring of about 160 points per server, scaled by weight. Few keys move on a change."""

    strategy = "ketama"

    def build(self) -> Ring:
        order = self.server_order()
        servers = tuple((self.labels[i], self.shards[i].weight) for i in order)
        return ring_of(servers, tuple(order), self.span)


@lru_cache(maxsize=8)
def ring_of(servers: tuple[tuple[str, int], ...], order: tuple[int, ...], span: int) -> Ring:
    """Build twemproxy's continuum. Where two points coincide, the earlier server owns the point.

    Args:
        servers: label and weight of each server, in twemproxy's order.
        order: index of each server's shard.
        span: how many values the hash function has.
    """
    owner_of: dict[int, int] = {}
    total = sum(weight for _, weight in servers)
    for position, (label, weight) in zip(order, servers, strict=True):
        for index in range(digest_count(weight, total, len(servers))):
            for point in hash_functions.md5_words(f"{label}-{index}".encode()):
                owner_of.setdefault(point, position)
    return Ring(owner_of, span)


def digest_count(weight: int, total: int, servers: int) -> int:
    """Return how many MD5 digests, of 4 points each, a server has in the continuum.

    The average is 40, rounded down in twemproxy's single-precision arithmetic: 25 servers of equal
    weight have 39 each, 24 have 40.

    Args:
        weight: of the server.
        total: sum of all weights.
        servers: how many servers there are.
    """
    part = _single(weight / total)
    points = _single(part * POINTS_PER_SERVER)
    return floor(_single(_single(points / POINTS_PER_DIGEST) * servers) + 1e-10)


def _single(value: float) -> float:
    """Round a number to single precision, as C does after each operation on floats."""
    rounded: float = unpack("f", pack("f", value))[0]
    return rounded


class ModulaPlacement(TwemproxyPlacement):
    """A placement by the hash value modulo the sum of weights. A change moves nearly every key."""

    strategy = "modula"

    @cached_property
    def ends(self) -> list[int]:
        """The first residue above each server's own, ascending."""
        return list(accumulate(self.shards[i].weight for i in self.server_order()))

    def finder(self, targets: Mapping[str, Target]) -> Callable[[bytes], Target]:
        table = [targets[self.shards[i].name] for i in self.server_order()]
        ends, digest = self.ends, self.digest
        total = ends[-1]
        return lambda key: table[bisect_right(ends, digest(key) % total)]

    def share(self, name: str) -> float:
        server = self.server_order().index(self.position(name))
        end = self.ends[server]
        start = end - self.shards[self.position(name)].weight
        rounds, rest = divmod(self.span, self.ends[-1])
        return ((end - start) * rounds + max(0, min(end, rest) - start)) / self.span

    def overlap(self, after: Placement) -> Overlap | None:
        if not (isinstance(after, ModulaPlacement) and self.hashes_as(after)):
            return None
        residues = min(lcm(self.ends[-1], after.ends[-1]), self.span)
        if residues > MAX_RESIDUES:
            return None
        rounds, rest = divmod(self.span, residues)
        pairs: Counter[tuple[str, str]] = Counter()
        both = zip(self._residues(), after._residues(), strict=False)
        once = Counter(islice(both, rest))
        both = zip(self._residues(), after._residues(), strict=False)
        for pair, count in Counter(islice(both, residues)).items():
            pairs[pair] = count * rounds + once[pair]
        moved = {pair: count for pair, count in pairs.items() if pair[0] != pair[1]}
        return Overlap(moved, self.span)

    def _residues(self) -> Iterator[str]:
        """The owner of residue 0, 1, 2, ... without end."""
        order = self.server_order()
        return cycle([self.shards[i].name for i in order for _ in range(self.shards[i].weight)])
