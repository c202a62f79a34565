"""Times as the API writes them, and elapsed times that no change of the machine's clock affects."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable
from datetime import datetime, timezone


def rfc3339(seconds: float | None = None) -> str:
    """Return a time as RFC 3339 in UTC, to the millisecond.

    Args:
        seconds: since the epoch; None for now.
    """
    moment = (
        datetime.now(timezone.utc)
        if seconds is None
        else datetime.fromtimestamp(seconds, timezone.utc)
    )
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class ElapsedTimes:
    """For how long this process has known of things, by their keys.

    Waits are counted from the first call for a key in this process, by the monotonic clock: the
    time of day may be set at any moment, and nothing tells how long no process was running. So a
    wait begins anew in each process, and is never cut short.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: dict[Hashable, float] = {}

    def since_first(self, key: Hashable, already: float = 0.0) -> float:
        """Return the seconds since the first call for this key, plus that call's `already`.

        Args:
            already: seconds for which the thing is known to have lasted at the first call.
        """
        now = self._clock()
        return now - self._first.setdefault(key, now - already)

    def keep(self, keys: Collection[Hashable]) -> None:
        """Forget all other keys."""
        self._first = {key: at for key, at in self._first.items() if key in keys}
