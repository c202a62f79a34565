"""One trial: load, a fault in its midst, and the check afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.failover.checker import Outcome, check
from benchmarks.failover.contenders.base import AsyncContender, Contender
from benchmarks.failover.load import Load
from benchmarks.failover.site import Site

PAUSE = 0.002  # seconds between two turns of a writer, so that servers and harness keep up
_FAULT_AT = 0.25  # share of the trial's time before the fault


def trial(
    contender: Contender | AsyncContender,
    site: Site,
    fault: Callable[[], None],
    seconds: float,
    writers: Sequence[int],
    options: Mapping[str, Any] | None = None,
) -> Outcome:
    """Run writers for ``seconds``, with a fault after a quarter of them; look up every write.

    Args:
        writers: how many on each shard, in order.
        options: of the client.

    Raises:
        AssertionError: a writer hangs, or a shard has no master at the end.
    """
    load = Load(contender, site, site.writers(writers), PAUSE, options)
    try:
        load.warm()
        time.sleep(max(0.0, load.started + seconds * _FAULT_AT - time.monotonic()))
        fault()
        time.sleep(max(0.0, load.started + seconds - time.monotonic()))
    finally:
        ended = load.stop()
    return check(site, load.writers, ended, load.stall)
