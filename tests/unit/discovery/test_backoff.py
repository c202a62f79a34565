"""How long a thread of discovery waits between two attempts that fail."""

from __future__ import annotations

import pytest

from cachemesh.core.errors import CacheMeshError, MetaserverError, MetaserverUnavailableError
from cachemesh.discovery.backoff import repeat_until_stopped
from cachemesh.discovery.wakeup import StopEvent

ATTEMPTS = 20


class Recorded(StopEvent):
    """Notes how long it is waited for, instead of the waiting, and ends after so many times."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = list[float]()

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        if len(self.waits) == ATTEMPTS:
            self.set()
        return self.is_set()


@pytest.mark.parametrize(
    ("error", "longest"),
    [
        (MetaserverUnavailableError("none of them answers"), 1.5),
        (MetaserverError(429, {"code": "too-many-requests"}), 5.0),
        (OSError("the network is down"), 5.0),
    ],
)
def test_delays_grow_up_to_a_bound(error: CacheMeshError | OSError, longest: float) -> None:
    stop = Recorded()

    def step() -> None:
        raise error

    repeat_until_stopped(step, stop)
    assert stop.waits[0] <= 0.2
    assert longest / 2 <= max(stop.waits) <= longest
    assert all(longest / 2 <= wait <= longest for wait in stop.waits[-10:])
