"""A master that is paused (SIGSTOP) long enough for a failover."""

from __future__ import annotations

from benchmarks.failover import faults
from benchmarks.failover.cases.base import Case, CaseResult, CaseSettings, of_outcome, seconds
from benchmarks.failover.contenders import AsyncContender, Contender
from benchmarks.failover.site import site
from benchmarks.failover.trial import trial

_SECONDS, _GAP = 6.0, 3.0


class Freeze(Case):
    """SIGSTOP, a failover, SIGCONT: the old master comes back and still has the role master."""

    name = "freeze"
    what = f"SIGSTOP {_SECONDS:g} s: longest write gap, acknowledged writes lost"
    bar = f"<= {_GAP:g} s, 0 lost"

    def run(self, contender: Contender | AsyncContender, settings: CaseSettings) -> CaseResult:
        with site(1) as here:
            shard = here.shards[0]
            outcome = trial(
                contender,
                here,
                lambda: faults.freeze_master(here, shard, _SECONDS),
                settings.seconds,
                [settings.writers],
            )
        gap = outcome.gaps[shard]
        shown = (
            f"{seconds(gap)}, {outcome.lost:,} of {outcome.acknowledged:,} lost, "
            f"{outcome.error_count:,} errors"
        )
        return of_outcome(outcome, shown, gap <= _GAP and not outcome.lost)
