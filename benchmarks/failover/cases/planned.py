"""A planned failover under load: how many acknowledged writes are lost."""

from __future__ import annotations

from benchmarks.failover import faults
from benchmarks.failover.cases.base import Case, CaseResult, CaseSettings, of_outcome, seconds
from benchmarks.failover.contenders import AsyncContender, Contender
from benchmarks.failover.site import site
from benchmarks.failover.trial import trial

_LONGEST_WAIT = 0.5


class Planned(Case):
    """The metaserver's planned failover for CacheMesh, SENTINEL FAILOVER for all others."""

    name = "planned"
    what = "planned failover: lost, errors, longest wait of a write"
    bar = f"0 lost, 0 errors, <= {_LONGEST_WAIT} s"

    def run(self, contender: Contender | AsyncContender, settings: CaseSettings) -> CaseResult:
        fault = faults.planned_failover if self._by_us(contender) else faults.sentinel_failover
        with site(1, metaservers=1) as here:
            shard = here.shards[0]
            outcome = trial(
                contender, here, lambda: fault(here, shard), settings.seconds, [settings.writers]
            )
        passed = not (outcome.lost or outcome.missed or outcome.stale or outcome.error_count)
        shown = (
            f"{outcome.lost:,} of {outcome.acknowledged:,} lost ({outcome.lost_share:.0%}), "
            f"{outcome.error_count:,} errors, {seconds(outcome.longest_wait)}"
        )
        return of_outcome(outcome, shown, passed and outcome.longest_wait <= _LONGEST_WAIT)

    def _by_us(self, contender: Contender | AsyncContender) -> bool:
        return contender.ours


class PlannedOthers(Planned):
    """The metaserver's planned failover for clients that know nothing of it."""

    name = "planned-others"
    what = "our planned failover, a plain redis-py Sentinel client that retries READONLY"
    contenders = ("redis-py-retrying",)

    def _by_us(self, contender: Contender | AsyncContender) -> bool:
        return True
