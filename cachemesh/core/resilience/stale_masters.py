"""Not led back by a Sentinel that lags: where a shard has just moved away from.

Sentinels tell each other of a failover every 2 seconds (redis.io, "High availability with Redis
Sentinel", configuration propagation), so for that long some of them still name the old master.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from cachemesh.core.names import Address

SUGGESTED_SECONDS = 10.0
"""How long Sentinels may take to tell of a master that says so itself."""

TOLD_SECONDS = 3.0
"""How long after one Sentinel has told of a master the others may still name the old one."""


@dataclass(frozen=True)
class _Hold:
    away: Collection[Address]
    master: Address
    until: float


class Holds:
    """Which answers about a shard are out of date. Not for two threads at once."""

    def __init__(self) -> None:
        self._holds: dict[str, _Hold] = {}

    def moved(self, shard: str, old: Address, new: Address, now: float, seconds: float) -> None:
        """The shard's master is ``new``; for so many seconds ``old`` is out of date."""
        before = self._holds.get(shard)
        away = {old}
        if before is not None and before.master == old and now < before.until:
            away.update(before.away)
        self._holds[shard] = _Hold(away - {new}, new, now + seconds)

    def admits(self, shard: str, address: Address, now: float) -> bool:
        """Whether to believe a Sentinel that says that the master is there."""
        hold = self._holds.get(shard)
        if hold is None:
            return True
        if now >= hold.until:
            del self._holds[shard]
            return True
        if address == hold.master:  # one of them knows, the others soon will
            self._holds[shard] = replace(hold, until=min(hold.until, now + TOLD_SECONDS))
            return True
        if address in hold.away:
            return False
        del self._holds[shard]
        return True

    def failed(self, shard: str, address: Address) -> None:
        """The master does not serve: whatever Sentinels say counts."""
        hold = self._holds.get(shard)
        if hold is not None and hold.master == address:
            del self._holds[shard]
