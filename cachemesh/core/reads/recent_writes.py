"""When this client wrote to a key, so that it reads its own writes. No I/O, no clock."""

from __future__ import annotations

from array import array

from cachemesh.core.reads.replication_lag import NEVER


class RecentWrites:
    """When this client last wrote to a key.

    Keys share a table of fixed size. Two that fall on one place cost a read from the master that
    could have gone to a replica, no more. Any thread may ask; those who tell lock.
    """

    __slots__ = ("_mask", "_times", "_whole")

    def __init__(self, places: int = 16_384) -> None:
        """``places`` is a power of two; each takes 8 bytes."""
        self._mask = places - 1
        self._times = array("d", [NEVER]) * places
        self._whole = NEVER

    def wrote(self, key: bytes, now: float) -> None:
        """A write to a key ended, acknowledged or not; the app has not been told yet."""
        at = hash(key) & self._mask
        self._times[at] = max(self._times[at], now)

    def wrote_anywhere(self, now: float) -> None:
        """As `wrote`, when it is not known which keys it touched."""
        self._whole = max(self._whole, now)

    def written_at(self, key: bytes) -> float:
        """When `wrote` was called, or later; `NEVER` if it was not."""
        return max(self._times[hash(key) & self._mask], self._whole)
