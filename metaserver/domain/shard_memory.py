"""The memory of a shard before and after keys have moved, and whether it is enough."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from metaserver.domain.key_sample import Estimate, added, exactly

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True)
class ShardMemory:
    """What a master tells about its memory.

    Attributes:
        used: bytes, its `used_memory`.
        most: its `maxmemory` in bytes; 0 for no bound.
        policy: its `maxmemory-policy`.
    """

    used: int
    most: int
    policy: str

    def after(self, gained: Iterable[Estimate], lost: Iterable[Estimate]) -> Estimate:
        """Return the bytes that it uses once keys have come and gone."""
        found = added([exactly(self.used), *gained], lost)
        return replace(found, value=max(0, found.value), low=max(0, found.low))

    def lack_of(self, shard: str, after: Estimate) -> str | None:
        """Return a warning that a shard has too little memory for the keys it gains, or None."""
        if not self.most or after.high <= self.most:
            return None
        needs = "needs" if after.value > self.most else "may need"
        low, high = in_units(after.low), in_units(after.high)
        span = "" if after.low == after.high else f" ({low} to {high})"
        follows = (
            "moves to it stop when it is full (noeviction)"
            if self.policy == "noeviction"
            else f"it will evict keys ({self.policy})"
        )
        return (
            f"shard {shard} {needs} about {in_units(after.value)}{span} of memory, and its "
            f"maxmemory is {in_units(self.most)}: {follows}"
        )


def in_units(count: float) -> str:
    """Return bytes in the unit that fits, such as "1.5 MiB"."""
    units = iter(_UNITS)
    unit = next(units)
    while count >= 1024 and (larger := next(units, None)):
        count, unit = count / 1024, larger
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
