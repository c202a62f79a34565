"""Client processes are frozen in the midst of their writes, while a pool is resized there and back.

One round by default; `CHAOS_ROUNDS=50 pytest -s tests/chaos/test_resize_frozen.py` does fifty for
each lease. With the short lease a client is fenced because its lease is over; with the usual one
because it lags in ten attempts, and it goes on with a lease that holds.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import pytest

from tests.support.resize_load import ResizeLoad
from tests.support.resize_stack import resizable_stack, url_of
from tests.support.resized_pool import ResizedPool

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))
CLIENTS, PAUSE = (8, 0.02) if ROUNDS > 1 else (4, 0.05)  # seconds between their rounds
LEASES = {"short": "3", "usual": "30"} if ROUNDS > 1 else {"short": "3"}


def freeze(load: ResizeLoad) -> list[int]:
    """Freeze one client of each kind, at random moments of their work."""
    numbers = [random.randrange(kind, len(load), 2) for kind in (0, 1)]
    for number in numbers:
        time.sleep(random.uniform(0.0, 0.05))
        load.freeze(number)
    return numbers


def resize_while_frozen(load: ResizeLoad, pool: ResizedPool) -> None:
    """Resize there and back; one of the frozen clients may go on in between."""
    frozen = freeze(load)
    try:
        pool.resize()
        load.await_progress(each=3, but=frozen)
        if random.random() < 0.5:
            load.thaw(frozen[0])
            load.await_progress(each=3, but=frozen[1:])
        pool.resize()
    finally:
        for number in frozen:
            load.thaw(number)
    load.await_progress(each=3)


@pytest.mark.timeout(ROUNDS * 120 + 600)
@pytest.mark.parametrize("lease", LEASES)
def test_clients_are_frozen(lease: str, tmp_path: Path) -> None:
    with resizable_stack("--lease", LEASES[lease]) as stack:
        pool = ResizedPool(stack)
        with ResizeLoad([url_of(stack)] * CLIENTS, stack.token, tmp_path, PAUSE) as load:
            load.await_progress()
            for _ in range(ROUNDS):
                resize_while_frozen(load, pool)
            load.await_progress(each=50)  # enough of each kind to tell
            verdict = load.stop(pool.history)
    sys.stderr.write(f"\n{pool}\n{verdict}\n")
    verdict.check()
    assert pool.actions["resize.fenced"] >= ROUNDS
