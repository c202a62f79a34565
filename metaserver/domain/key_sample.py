"""What a sample of a shard's keys tells of all of them: how many leave it, and their bytes.

SCAN goes through a table in the order of the server's own hash of the keys. Each process draws its
seed anew, and the hash knows nothing of age, size or placement. So the keys that come first are a
fair sample, drawn without replacement. Databases have tables of their own: each is sampled in
proportion to its keys, and the estimates are added.

Sources: for keys the score interval of E. B. Wilson (1927), as in the NIST/SEMATECH e-Handbook,
7.2.4.1; for bytes, and for what is drawn without replacement, W. G. Cochran, Sampling Techniques,
3rd edition (1977), chapter 2; for sums G. Y. Zou, W. Huang and X. Zhang (2009), A note on
confidence interval estimation for a linear function of binomial proportions.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Z = 1.96  # standard errors on either side of an estimate, for bounds of 95 %
NAMED = 20  # big keys that a plan names
_SHOWN = 200  # bytes of the name of one


@dataclass(frozen=True)
class Estimate:
    """A number that is not known exactly, within bounds that hold in 95 % of all cases.

    Where it is exact, the bounds are equal to the value.
    """

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, int]:
        """Return the estimate as docs/api.md shows it, in whole numbers."""
        return {
            "estimate": round(self.value),
            "low": math.floor(self.low),
            "high": math.ceil(self.high),
        }


def exactly(value: float) -> Estimate:
    """Return a number that is known."""
    return Estimate(value, value, value)


def added(terms: Iterable[Estimate], taken: Iterable[Estimate] = ()) -> Estimate:
    """Return the sum of independent estimates, less those that are taken off.

    A sum misses its value by the root of the squares by which its terms miss theirs.
    """
    plus, minus = list(terms), list(taken)
    value = sum(each.value for each in plus) - sum(each.value for each in minus)
    below = [each.value - each.low for each in plus] + [each.high - each.value for each in minus]
    above = [each.high - each.value for each in plus] + [each.value - each.low for each in minus]
    return Estimate(value, value - math.hypot(*below), value + math.hypot(*above))


@dataclass
class Sizes:
    """The sizes of some keys: how many, and the sums of their bytes and of the squares of these."""

    count: int = 0
    total: int = 0
    squares: int = 0

    def add(self, size: int) -> None:
        """Count a key of so many bytes."""
        self.count += 1
        self.total += size
        self.squares += size * size


@dataclass
class DatabaseSample:
    """The keys of one database that were looked at.

    Attributes:
        keys: how many the database has.
        looked_at: at how many of them.
        complete: whether that was all.
        leaving: shard -> the sizes of those looked at that go there.
    """

    keys: int
    looked_at: int = 0
    complete: bool = False
    leaving: dict[str, Sizes] = field(default_factory=dict)

    def add(self, target: str, size: int) -> None:
        """Count a key that goes to a shard."""
        self.leaving.setdefault(target, Sizes()).add(size)

    def keys_to(self, target: str) -> Estimate:
        """Return how many keys go to a shard."""
        found = self.leaving.get(target, Sizes()).count
        if self.complete:
            return exactly(found)
        return _counted(found, self.looked_at, max(self.keys, self.looked_at))

    def bytes_to(self, target: str, usual: float) -> Estimate:
        """Return how many bytes go to a shard.

        The sizes of a few keys say little of how far sizes differ. So the bounds are at least as
        wide as those of the number of keys, each of them of the mean size.

        Args:
            usual: bytes of a key, as long as none was seen that goes there.
        """
        found = self.leaving.get(target, Sizes())
        if self.complete:
            return exactly(found.total)
        keys, size = self.keys_to(target), found.total / found.count if found.count else usual
        value, error = _summed(found, self.looked_at, max(self.keys, self.looked_at))
        low = min(value - Z * error, keys.low * size)
        high = max(value + Z * error, keys.high * size)
        return Estimate(value, min(value, max(low, found.total)), high)


def _counted(found: int, looked_at: int, keys: int) -> Estimate:
    """Estimate how many of all keys are of a kind, by Wilson's score interval.

    Without replacement `looked_at` keys tell as much as n (N - 1) / (N - n) with replacement.
    """
    if not looked_at:
        return Estimate(0, 0, keys)
    if looked_at == keys:
        return exactly(found)
    n = looked_at * (keys - 1) / (keys - looked_at)
    share, weight = found / looked_at, Z * Z / n
    centre = (share + weight / 2) / (1 + weight)
    half = Z / (1 + weight) * math.sqrt(share * (1 - share) / n + weight / (4 * n))
    low = max(found, keys * (centre - half))
    high = min(keys - (looked_at - found), keys * (centre + half))
    value = keys * share
    return Estimate(value, min(low, value), max(high, value))


def _summed(found: Sizes, looked_at: int, keys: int) -> tuple[float, float]:
    """Return the estimated bytes of all keys of a kind, and the standard error of that."""
    if looked_at < 2:
        return keys * found.total / max(1, looked_at), 0.0
    variance = (found.squares - found.total**2 / looked_at) / (looked_at - 1)
    missing = 1 - looked_at / keys
    error = keys * math.sqrt(max(0.0, variance) / looked_at * missing)
    return keys * found.total / looked_at, error


@dataclass(frozen=True, order=True)
class BigKey:
    """A key that takes long to copy; the order is that of size.

    Attributes:
        size: bytes, as MEMORY USAGE estimates them.
        kind: its type; "" if that is not known.
    """

    size: int
    name: bytes
    database: int
    source: str
    target: str
    kind: str = ""

    def text(self, most: int = _SHOWN) -> str:
        """Return the first bytes of its name as text."""
        return self.name[:most].decode("utf-8", "backslashreplace")

    def to_dict(self) -> dict[str, object]:
        """Return the key as docs/api.md shows it."""
        return {
            "source": self.source,
            "target": self.target,
            "database": self.database,
            "key": self.text(),
            "type": self.kind,
            "bytes": self.size,
        }


def biggest(keys: Iterable[BigKey]) -> list[BigKey]:
    """Return the biggest keys, each once and the biggest first."""
    return heapq.nlargest(NAMED, set(keys))


@dataclass(frozen=True)
class ShardSample:
    """The keys of a shard that were looked at.

    Attributes:
        databases: number -> what was looked at there.
        used: bytes that the shard takes by now.
        big: the biggest keys over a bound that leave it, of those looked at.
    """

    databases: Mapping[int, DatabaseSample]
    used: int
    big: tuple[BigKey, ...] = ()

    @property
    def keys(self) -> int:
        """How many keys the shard has."""
        return sum(each.keys for each in self.databases.values())

    @property
    def looked_at(self) -> int:
        """At how many of them was looked."""
        return sum(each.looked_at for each in self.databases.values())

    @property
    def complete(self) -> bool:
        """Whether all keys were looked at."""
        return all(each.complete for each in self.databases.values())

    @property
    def targets(self) -> set[str]:
        """The shards that keys of the sample go to."""
        return {target for each in self.databases.values() for target in each.leaving}

    def keys_to(self, target: str) -> Estimate:
        """Return how many keys go to a shard."""
        return added(each.keys_to(target) for each in self.databases.values())

    def bytes_to(self, target: str) -> Estimate:
        """Return how many bytes go to a shard: an estimate is not above what the shard uses."""
        usual = self.used / max(1, self.keys)
        found = added(each.bytes_to(target, usual) for each in self.databases.values())
        if self.complete:
            return found
        return Estimate(*(min(each, self.used) for each in (found.value, found.low, found.high)))


def shares(keys: Mapping[int, int], most: int) -> dict[int, int]:
    """Return how many keys of each database to look at.

    Args:
        keys: database -> how many it has.
        most: keys of all databases together, about; 0: all.
    """
    total = sum(keys.values())
    if not most or total <= most:
        return dict(keys)
    return {database: math.ceil(most * count / total) for database, count in keys.items()}
