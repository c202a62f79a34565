"""Stale masters: which answers of Sentinels about a shard that has just moved are out of date.

Source: Sentinels tell each other of a failover every 2 seconds (redis.io, "High availability with
Redis Sentinel", configuration propagation). For that long some of them still name the old master.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from cachemesh.core.names import Address

REPORTED_SECONDS = 10.0
"""How long Sentinels may take to name a master that has said itself that it is one."""

TOLD_SECONDS = 3.0
"""How long after one Sentinel has named a master the others may still name the old one."""


@dataclass(frozen=True)
class _Hold:
    away: Collection[Address]
    master: Address
    until: float


class StaleMasters:
    """Knows which masters a shard has moved away from. Not for two threads at once."""

    def __init__(self) -> None:
        self._holds: dict[str, _Hold] = {}

    def moved(self, shard: str, old: Address, new: Address, now: float, seconds: float) -> None:
        """Record a move: the master is ``new``, and for so many seconds ``old`` is out of date."""
        before = self._holds.get(shard)
        away = {old}
        if before is not None and before.master == old and now < before.until:
            away.update(before.away)
        self._holds[shard] = _Hold(away - {new}, new, now + seconds)

    def admits(self, shard: str, address: Address, now: float) -> bool:
        """Return whether to believe a Sentinel that names this address as the master's."""
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
        """Record that the master does not serve: from now on every answer of a Sentinel counts."""
        hold = self._holds.get(shard)
        if hold is not None and hold.master == address:
            del self._holds[shard]
