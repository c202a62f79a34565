"""Times as the API writes them, and ages, which no change of the machine's clock touches."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable
from datetime import datetime, timezone


def rfc3339(seconds: float | None = None) -> str:
    """A time in seconds since the epoch (None: now) as RFC 3339 in UTC, to the millisecond."""
    moment = (
        datetime.now(timezone.utc)
        if seconds is None
        else datetime.fromtimestamp(seconds, timezone.utc)
    )
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Ages:
    """For how long this process has known of things, by their keys.

    What has to wait a while is counted from when this process first saw it: the time of day may be
    set at any moment, and how long nobody looked is not known after a restart. So a wait begins
    anew with each process that takes it over, and is never cut short, unless `of` is told how
    long it has gone on already.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: dict[Hashable, float] = {}

    def of(self, key: Hashable, already: float = 0.0) -> float:
        """Seconds since the first call with this key, which gives `already`."""
        now = self._clock()
        return now - self._first.setdefault(key, now - already)

    def keep(self, keys: Collection[Hashable]) -> None:
        """Forget all others."""
        self._first = {key: at for key, at in self._first.items() if key in keys}
