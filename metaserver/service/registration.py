"""Bringing instances into use: checked, noted as an intent, told to the Sentinels; or undone.

check --> intent in the store --> SENTINEL MONITOR --> document (deletes the intent)
                  |                     |                   |
                  '------ any failure, or kill -9 ----------'
                          --> SENTINEL REMOVE, intent deleted (here, or by repair)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from cachemesh.core.errors import SentinelUnavailableError
from cachemesh.core.words import counted
from metaserver.domain.errors import Problem
from metaserver.redis_io.admission import (
    InstanceRejected,
    InstanceReport,
    check_empty,
    check_new_master,
    check_unused,
)
from metaserver.redis_io.sentinels import Outcome
from metaserver.service.context import Control, log
from metaserver.store import Intent, IntentAction, NewIntent, StorageError

_AT_ONCE = 16
_TOLD_AT_ONCE = 2
"""A Sentinel writes its configuration to the disk for each shard that it is told of, one after the
other: with a hundred at once the last would wait longer than `sentinel_timeout`."""
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Candidate:
    """An instance ("host:port") that shall become the master of a shard."""

    shard: str
    master: str


@dataclass
class Registered:
    """What became of the candidates; `reports` by shard name."""

    intents: tuple[int, ...]
    steps: list[str]
    warnings: list[str]


def check(
    control: Control,
    candidates: Sequence[Candidate],
    sentinels: Sequence[str],
    *,
    allow_nonempty: bool,
) -> dict[str, InstanceReport]:
    """Look at every candidate, at once; the reports by shard name. Changes nothing.

    Raises:
        Problem: shard-exists for a name that these Sentinels know; sentinel-failed if none of
            them answers.
        InstanceRejected: for the first candidate that cannot be used.
        InvalidDocumentError: an address that is not host:port.
    """
    config = control.config

    def examine(candidate: Candidate) -> InstanceReport:
        return check_new_master(
            candidate.master,
            config.redis_auth,
            allowed=control.networks,
            timeout=config.instance_timeout,
        )

    for address in sentinels:
        control.networks.check(address)
    reports = _at_once(examine, candidates)
    masters = _masters_in_use(control, candidates, sentinels)

    def unused(pair: tuple[Candidate, InstanceReport]) -> None:
        candidate, report = pair
        check_unused(
            candidate.master,
            report,
            masters,
            config.redis_auth,
            allowed=control.networks,
            timeout=config.instance_timeout,
        )

    _at_once(unused, list(zip(candidates, reports, strict=True)))
    _refuse_twins(candidates, reports)
    if not allow_nonempty:
        for candidate, report in zip(candidates, reports, strict=True):
            check_empty(candidate.master, report)
    return {candidate.shard: report for candidate, report in zip(candidates, reports, strict=True)}


def checked_step(candidate: Candidate, report: InstanceReport) -> str:
    """The check as a step of a change."""
    return (
        f"check {candidate.master}: Redis {report.redis_version}, master with "
        f"{counted(len(report.replicas), 'replica')}, {counted(report.keys, 'key')}, not in use"
    )


@contextmanager
def registered(
    control: Control,
    pool: str,
    action: IntentAction,
    masters: Sequence[Candidate],
    sentinels: Sequence[str],
    quorum: int,
    *,
    like: str | None = None,
) -> Iterator[Registered]:
    """Have the Sentinels monitor the masters while the block changes the document.

    They get the Sentinel options (down-after-milliseconds, ...) of the shard `like`. The block
    passes `intents` on to the store. If anything fails, here or in the block, all of it is undone
    before the error goes on.

    Raises:
        Problem: shard-exists if another change is just about the same shard or instance;
            sentinel-failed if fewer than a majority took it.
    """
    intents: list[Intent] = []
    settled = False
    try:
        for candidate in masters:
            intents.append(_intend(control, pool, action, candidate, sentinels))
        result = Registered(tuple(intent.id for intent in intents), [], [])
        options = _options_like(control, sentinels, like)

        def tell(candidate: Candidate) -> Outcome:
            with control.sentinels(sentinels) as told:
                return told.register(
                    candidate.shard, candidate.master, quorum, control.config.redis_auth, options
                )

        for candidate, outcome in zip(masters, _at_once(tell, masters, _TOLD_AT_ONCE), strict=True):
            _judge(candidate, outcome, result)
        yield result
        settled = True
    finally:
        if not settled:
            _undo(control, intents)


def unregister(control: Control, intents: Sequence[Intent]) -> list[str]:
    """Have the Sentinels forget the shards of intents that are `undoing`.

    What a Sentinel did not take stays noted, and repair tries it again; the answer warns of it.
    """
    warnings = []
    for intent in intents:
        with control.sentinels(intent.sentinels) as sentinels:
            outcome = sentinels.unregister(intent.shard)
        if outcome.failed:
            late = ", ".join(outcome.failed)
            warnings.append(
                f"{late} did not take SENTINEL REMOVE {intent.shard}; it is repeated until it does"
            )
            continue
        try:
            control.store.finish_intent(intent.id)
        except StorageError as error:
            # The Sentinels have forgotten it, and repair finds that there is nothing left to do.
            log.warning("shard %s: left to repair: %s", intent.shard, error)
    return warnings


def _options_like(
    control: Control, sentinels: Sequence[str], shard: str | None
) -> dict[str, str] | None:
    if shard is None:
        return None
    with control.sentinels(sentinels) as asked:
        return asked.options_of(shard)


def _intend(
    control: Control,
    pool: str,
    action: IntentAction,
    candidate: Candidate,
    sentinels: Sequence[str],
) -> Intent:
    intent = control.store.add_intent(
        NewIntent(pool, candidate.shard, candidate.master, action, tuple(sentinels), control.owner)
    )
    if intent is None:
        raise Problem(
            "shard-exists",
            f"Shard {candidate.shard!r} or the instance {candidate.master} is still being added or "
            "removed by another change, which ends when every Sentinel has taken it",
            "wait a few seconds and try again; if it lasts, start the Sentinels that are down",
        )
    return intent


def _judge(candidate: Candidate, outcome: Outcome, result: Registered) -> None:
    count = len(outcome.done) + len(outcome.failed)
    reasons = "; ".join(f"{at}: {reason}" for at, reason in outcome.failed.items())
    if not outcome.majority:
        raise Problem(
            "sentinel-failed",
            f"SENTINEL MONITOR {candidate.shard} worked on {len(outcome.done)} of "
            f"{counted(count, 'Sentinel')} ({reasons})",
            "check that the Sentinels run and can be reached, then try again",
            failed=dict(outcome.failed),
        )
    result.steps.append(
        f"SENTINEL MONITOR {candidate.shard} on {len(outcome.done)} of {counted(count, 'Sentinel')}"
    )
    if outcome.failed:
        result.warnings.append(
            f"{candidate.shard} is not monitored by every Sentinel yet ({reasons}); "
            "it is repeated until it is"
        )


def _undo(control: Control, intents: Sequence[Intent]) -> None:
    """As far as possible now; what is left over stays noted for repair."""
    for intent in intents:
        try:
            ours = control.store.claim_intent(intent.id)
        except StorageError:
            # The change this intent belongs to is this one, and it has failed: it cannot happen.
            ours = True
        if ours:
            unregister(control, [intent])


def _masters_in_use(
    control: Control, candidates: Sequence[Candidate], sentinels: Sequence[str]
) -> dict[str, str]:
    """What uses which master already: by the store's memory, and by what these Sentinels say."""
    used = {
        f"shard {shard} of pool {pool}": address
        for (pool, shard), address in control.store.last_masters().items()
    }
    try:
        with control.sentinels(sentinels) as asked:
            monitored = asked.monitored()
    except SentinelUnavailableError as error:
        raise Problem(
            "sentinel-failed", str(error), "check the addresses of the Sentinels, and start them"
        ) from error
    for candidate in candidates:
        if candidate.shard in monitored:
            raise Problem(
                "shard-exists",
                f"The Sentinels already monitor {candidate.shard!r} "
                f"at {monitored[candidate.shard]}",
                "choose another name; if no pool uses it, SENTINEL REMOVE it first",
            )
    for name, address in monitored.items():
        used.setdefault(f"{name}, as the Sentinels say", address)
    return used


def _refuse_twins(candidates: Sequence[Candidate], reports: Sequence[InstanceReport]) -> None:
    seen: dict[str, str] = {}
    for candidate, report in zip(candidates, reports, strict=True):
        other = seen.setdefault(report.run_id, candidate.shard)
        if other != candidate.shard:
            raise InstanceRejected(
                candidate.master,
                "in-use",
                f"{candidate.master} is the same instance as that of shard {other}",
                "give each shard its own instance",
            )


def _at_once(work: Callable[[T], R], items: Sequence[T], most: int = _AT_ONCE) -> list[R]:
    with ThreadPoolExecutor(min(most, max(1, len(items)))) as pool:
        return list(pool.map(work, items))
