"""SIGKILL of a master: how long its shard takes no writes, and the effect on other shards."""

from __future__ import annotations

from benchmarks.failover import faults
from benchmarks.failover.cases.base import Case, CaseResult, CaseSettings, of_outcome, seconds
from benchmarks.failover.contenders import AsyncContender, Contender
from benchmarks.failover.site import site
from benchmarks.failover.trial import trial

_DOWN_AFTER = 1.0
_GAP, _OTHERS_GAP = _DOWN_AFTER + 1.5, 0.1
_OTHERS = 2  # writers on each shard where nothing fails


class Kill(Case):
    """Three shards, each with writers of its own, so that the harness does not couple them."""

    name = "kill"
    what = "SIGKILL of a master: longest write gap there / on other shards"
    bar = f"<= {_GAP} s / <= {_OTHERS_GAP * 1000:.0f} ms"

    def run(self, contender: Contender | AsyncContender, settings: CaseSettings) -> CaseResult:
        with site(3) as here:
            shard = here.shards[0]
            counts = [settings.writers, _OTHERS, _OTHERS]
            outcome = trial(
                contender, here, lambda: faults.kill_master(here, shard), settings.seconds, counts
            )
        gap = outcome.gaps[shard]
        others = max(found for name, found in outcome.gaps.items() if name != shard)
        shown = f"{seconds(gap)} / {seconds(others)}, {outcome.error_count:,} errors"
        return of_outcome(outcome, shown, gap <= _GAP and others <= _OTHERS_GAP)


class KillMiss(Case):
    """The same with ``on_error="miss"``: the app gets misses instead of exceptions."""

    name = "kill-miss"
    what = 'SIGKILL, on_error="miss": exceptions in the app'
    bar = "0"

    def run(self, contender: Contender | AsyncContender, settings: CaseSettings) -> CaseResult:
        options = {"on_error": "miss"} if contender.ours else {}
        with site(1) as here:
            shard = here.shards[0]
            outcome = trial(
                contender,
                here,
                lambda: faults.kill_master(here, shard),
                settings.seconds,
                [settings.writers],
                options,
            )
        shown = f"{outcome.error_count:,}"
        if outcome.dropped:
            shown += f" ({outcome.dropped:,} writes dropped)"
        return of_outcome(outcome, shown, outcome.error_count == 0)
