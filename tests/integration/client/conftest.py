"""What tests of clients share: shards between which keys move, and a check that nothing is left."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachemesh.local import LocalStack
from tests.support.both_clients import CLIENTS
from tests.support.moved_keys import Moved, filled, three_shards
from tests.support.waiting import until


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    """Three shards with a replica each, where a module has no stack of its own."""
    with three_shards() as stack:
        yield stack


@pytest.fixture(params=CLIENTS)
def moved(request: pytest.FixtureRequest, stack: LocalStack, tmp_path: Path) -> Iterator[Moved]:
    """Those shards, filled by a client of either kind; nothing moves yet."""
    with filled(request.param, stack, tmp_path) as moved:
        yield moved


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
