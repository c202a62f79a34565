"""Two of eight client processes are cut off from every metaserver, while a pool is resized.

One is refused, the other hears nothing. They reach the shards all the time. Only on demand:
`CHAOS_ROUNDS=50 pytest -s tests/chaos/test_resize_cut_off.py` does fifty in each cut.
"""

from __future__ import annotations

import os
import random
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.relay import Cut, Relay
from tests.support.resize_load import ResizeLoad
from tests.support.resize_stack import resizable_stack
from tests.support.resized_pool import ResizedPool
from tests.support.waiting import in_time

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "0"))
CUTS = 1 + ROUNDS // 25
CLIENTS = 8
HOW: tuple[Cut, Cut] = ("refuses", "is silent")
ENDS_WITHIN = 2.0  # seconds after the cut
CALM = 4.0  # seconds without an error, after which errors have ended


@pytest.mark.skipif(not ROUNDS, reason="takes long; set CHAOS_ROUNDS")
@pytest.mark.timeout(CUTS * (ROUNDS + 1) * 60 + 600)
def test_clients_are_cut_off(tmp_path: Path) -> None:
    with resizable_stack("--lease", "3") as stack, ExitStack() as relays:
        pool = ResizedPool(stack)
        (metaserver,) = stack.info["metaservers"]
        gates = [relays.enter_context(Relay(metaserver)) for _ in range(CLIENTS)]
        urls = [f"cachemesh://{gate.address}/cache" for gate in gates]
        ever_cut = set()
        with ResizeLoad(urls, stack.token, tmp_path) as load:
            load.await_progress()
            for number in range(CUTS):
                cut = random.sample(range(CLIENTS), 2)
                ever_cut |= set(cut)
                before = load.sums("errors")
                for each, how in zip(cut, HOW, strict=True):
                    gates[each].cut(how)
                for _ in range(ROUNDS):
                    pool.resize()
                    load.await_progress(each=3, but=cut)
                for each in cut:
                    gates[each].heal()
                last = load.await_calm(cut, CALM)
                load.await_progress(each=20)
                failed = [load.sums("errors")[each] - before[each] for each in cut]
                sys.stderr.write(
                    f"\ncut {number + 1}, of clients {cut}: {ROUNDS} resizes; {failed} errors, the "
                    f"last one {last:.2f} s after the cut\n"
                )
                assert min(failed) > 0
                in_time(last, ENDS_WITHIN)
            verdict = load.stop(pool.history)
    others = verdict.errors_of(set(range(CLIENTS)) - ever_cut)
    sys.stderr.write(f"\n{pool}\n{verdict}\nerrors of those never cut off {dict(others)}\n")
    verdict.check()
    assert "FencedError" not in others
    assert pool.actions["resize.fenced"] >= CUTS * ROUNDS - 1
