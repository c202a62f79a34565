"""For how long a write is sent again that a master refuses for want of replicas.

In a planned failover the old master refuses writes so between the promotion of its replica and its
own demotion, for some milliseconds. Where a replica is gone, a master with `min-replicas-to-write`
refuses them until the replica is back.
"""

from __future__ import annotations

import math

PATIENCE = 2.0
"""Seconds; a planned failover gives the promotion 1.5 s, of which refusals are the end."""
_CALM = 3.0  # seconds without a refusal, after which another one is a new beginning


class ReplicaPatience:
    """Has the first refusals of a shard's master waited for, and not those that go on."""

    __slots__ = ("_began", "_last")

    def __init__(self) -> None:
        self._began = self._last = -math.inf

    def waits(self, now: float) -> bool:
        """Note a refusal, and return whether the write is to be sent again.

        Args:
            now: seconds on a clock that does not jump.
        """
        if now - self._last > _CALM:
            self._began = now
        self._last = now
        return now - self._began < PATIENCE
