"""The clock of leases, which is read once for each command, or turn of an event loop.

It counts while the process is stopped and, where the system has such a clock, while the machine
sleeps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

clock: Callable[[], float] = partial(
    time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
)
"""Return monotonic seconds by the clock of leases. A partial is faster than a function."""


class LeaseEnd:
    """A moment by `clock`, which a client compares with it before each command."""

    __slots__ = ("until",)

    def __init__(self, until: float) -> None:
        self.until = until


def by_monotonic(moment: float) -> float:
    """Return a moment of this clock by `time.monotonic`."""
    return time.monotonic() + moment - clock()
