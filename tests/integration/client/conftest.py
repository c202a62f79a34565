"""A check that clients leave no socket and no thread behind."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import until


def resources() -> tuple[int, int]:
    """Return how many sockets are open, and how many threads clients have."""
    sockets = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            sockets += str(entry.readlink()).startswith("socket:")
        except OSError:
            continue  # that of the listing itself
    return sockets, sum(t.name.startswith("cachemesh-") for t in threading.enumerate())


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fail unless sockets and threads are soon as few as before the test."""
    gc.collect()
    before = resources()
    yield

    def as_before() -> bool:
        gc.collect()
        return resources() <= before

    until(as_before)
