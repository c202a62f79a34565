"""When this client wrote to a key, so that it reads its own writes. No I/O, no clock."""

from __future__ import annotations

from array import array

from cachemesh.core.reads.replication_lag import NEVER


class RecentWrites:
    """Remembers when this client last wrote to each key.

    Keys share a table of fixed size. Two keys in one place cost a read from the master that could
    have gone to a replica, no more. Any thread may call `written_at`; callers of the others lock.
    """

    __slots__ = ("_mask", "_times", "_whole")

    def __init__(self, places: int = 16_384) -> None:
        """Make a table of so many places, a power of two, of 8 bytes each."""
        self._mask = places - 1
        self._times = array("d", [NEVER]) * places
        self._whole = NEVER

    def wrote(self, key: bytes, now: float) -> None:
        """Record the end of a write to a key, acknowledged or not, before the app is told."""
        at = hash(key) & self._mask
        self._times[at] = max(self._times[at], now)

    def wrote_anywhere(self, now: float) -> None:
        """Record the end of a write to keys that are not known."""
        self._whole = max(self._whole, now)

    def written_at(self, key: bytes) -> float:
        """Return when `wrote` was called for a key, or a later time; `NEVER` if none."""
        return max(self._times[hash(key) & self._mask], self._whole)
