"""200 threads when a master dies: how often they ask Sentinel."""

from __future__ import annotations

import time

from benchmarks.failover import faults
from benchmarks.failover.cases.base import BLOCKING, Case, CaseResult, CaseSettings, of_outcome
from benchmarks.failover.checker import check
from benchmarks.failover.contenders import AsyncContender, Contender
from benchmarks.failover.forwarder import busiest_second, forwarded
from benchmarks.failover.load import Load
from benchmarks.failover.site import site

_THREADS, _MOST = 200, 3
_PAUSE = 0.05
_BEFORE, _AFTER = 5.0, 12.0


class Crowd(Case):
    """Forwarders before the Sentinels count the look-ups, also those of an idle client before."""

    name = "crowd"
    what = f"{_THREADS} threads when a master dies: look-ups at Sentinel in the busiest second"
    bar = f"<= {_MOST}"
    contenders = BLOCKING

    def run(self, contender: Contender | AsyncContender, settings: CaseSettings) -> CaseResult:
        with site(1) as plain, forwarded(plain) as (here, forwarders):
            load = Load(contender, here, here.writers([_THREADS]), _PAUSE)
            try:
                load.warm(30.0)
                time.sleep(_BEFORE)
                began = time.monotonic()
                faults.kill_master(here, here.shards[0])
                time.sleep(max(0.0, began + _AFTER - time.monotonic()))
            finally:
                ended = load.stop()
            outcome = check(here, load.writers, ended, load.stall)
        asked = sorted(ask for forwarder in forwarders for ask in forwarder.asked)
        asked = [(at - began, what) for at, what in asked if began <= at <= ended]
        most, span = busiest_second([at for at, _ in asked]), ended - began
        result = of_outcome(
            outcome, f"{most} ({len(asked) / span:.1f} a second over {span:.0f} s)", most <= _MOST
        )
        result.figures |= {"look_ups": asked, "seconds": span, "busiest_second": most}
        return result
