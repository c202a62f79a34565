"""Bringing instances into use: checked, registered with the Sentinels, or undone.

check --> intent in the store --> SENTINEL MONITOR --> document (deletes the intent)
                  |                     |                   |
                  '------ any failure, or kill -9 ----------'
                          --> SENTINEL REMOVE, intent deleted (here, or by repair)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from cachemesh.core.errors import SentinelUnavailableError
from cachemesh.core.plurals import counted
from metaserver.domain.errors import RequestRefused
from metaserver.domain.pool_state import Intent, IntentAction, NewIntent
from metaserver.redis_io.admission import (
    InstanceReport,
    check_empty,
    check_new_master,
    check_unused,
)
from metaserver.redis_io.allowed_networks import InstanceRejected
from metaserver.redis_io.sentinel_group import SentinelOutcome
from metaserver.service.context import ServiceContext, log
from metaserver.store import StorageError, UnsureError

_AT_ONCE = 16
_REGISTERED_AT_ONCE = 2
"""A Sentinel writes its configuration to disk for each new shard, one after the other: of a hundred
at once the last would wait too long."""
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class MasterCandidate:
    """An instance that shall become the master of a shard.

    Attributes:
        master: address of the instance.
    """

    shard: str
    master: str


@dataclass
class RegistrationResult:
    """The outcome of a registration.

    Attributes:
        intents: ids of the intents that the change of the document has to complete.
        steps, warnings: for the reply.
    """

    intents: tuple[int, ...]
    steps: list[str]
    warnings: list[str]


def check(
    context: ServiceContext,
    candidates: Sequence[MasterCandidate],
    sentinels: Sequence[str],
    *,
    allow_nonempty: bool,
) -> dict[str, InstanceReport]:
    """Examine all candidates at once, and return the reports by shard name. Changes nothing.

    Raises:
        RequestRefused: shard-exists: the Sentinels know the name; sentinel-failed: none answers.
        InstanceRejected: of the first candidate that cannot be used.
        InvalidDocumentError: an address is not host:port.
    """
    config = context.config

    def examine(candidate: MasterCandidate) -> InstanceReport:
        return check_new_master(
            candidate.master,
            config.redis_auth,
            allowed=context.networks,
            timeout=config.instance_timeout,
        )

    for address in sentinels:
        context.networks.check(address)
    reports = _at_once(examine, candidates)
    masters = _masters_in_use(context, candidates, sentinels)

    def unused(pair: tuple[MasterCandidate, InstanceReport]) -> None:
        candidate, report = pair
        check_unused(
            candidate.master,
            report,
            masters,
            config.redis_auth,
            allowed=context.networks,
            timeout=config.instance_timeout,
        )

    _at_once(unused, list(zip(candidates, reports, strict=True)))
    _refuse_twins(candidates, reports)
    if not allow_nonempty:
        for candidate, report in zip(candidates, reports, strict=True):
            check_empty(candidate.master, report)
    return {candidate.shard: report for candidate, report in zip(candidates, reports, strict=True)}


def checked_step(candidate: MasterCandidate, report: InstanceReport) -> str:
    """Return the check as a step of a change, in words."""
    return (
        f"check {candidate.master}: Redis {report.redis_version}, master with "
        f"{counted(len(report.replicas), 'replica')}, {counted(report.keys, 'key')}, not in use"
    )


@contextmanager
def registered(
    context: ServiceContext,
    pool: str,
    action: IntentAction,
    masters: Sequence[MasterCandidate],
    sentinels: Sequence[str],
    quorum: int,
    *,
    like: str | None = None,
    options: Mapping[str, Mapping[str, str]] | None = None,
) -> Iterator[RegistrationResult]:
    """Have the Sentinels monitor the masters; the block has to store the document.

    The block passes the `intents` of the result on to the store. If anything fails, here or in the
    block, everything is undone before the error is raised.

    Args:
        like: a shard whose Sentinel options (down-after-milliseconds, ...) are copied.
        options: shard -> its Sentinel options, in place of those.

    Raises:
        RequestRefused: shard-exists: another change of the same shard or instance is in progress;
            sentinel-failed: no majority of the Sentinels took the registration.
    """
    intents: list[Intent] = []
    stored = unsure = False
    try:
        for candidate in masters:
            intents.append(_store_intent(context, pool, action, candidate, sentinels))
        result = RegistrationResult(tuple(intent.id for intent in intents), [], [])
        alike, own = _options_like(context, sentinels, like), options or {}

        def register(candidate: MasterCandidate) -> SentinelOutcome:
            with context.sentinels(sentinels) as group:
                return group.register(
                    candidate.shard,
                    candidate.master,
                    quorum,
                    context.config.redis_auth,
                    own.get(candidate.shard, alike),
                )

        for candidate, outcome in zip(
            masters, _at_once(register, masters, _REGISTERED_AT_ONCE), strict=True
        ):
            _record_outcome(candidate, outcome, result)
        yield result
        stored = True
    except UnsureError:
        unsure = True
        raise
    finally:
        if not stored:
            _undo(context, intents, unsure=unsure)


def unregister(context: ServiceContext, intents: Sequence[Intent]) -> list[str]:
    """Have the Sentinels forget the shards of intents that are `undoing`.

    Where a Sentinel does not answer, the intent stays, and repair tries again.

    Returns:
        A warning for each such intent.
    """
    warnings = []
    for intent in intents:
        with context.sentinels(intent.sentinels) as sentinels:
            outcome = sentinels.unregister(intent.shard)
        if outcome.failed:
            late = ", ".join(outcome.failed)
            warnings.append(
                f"{late} did not take SENTINEL REMOVE {intent.shard}; it is repeated until it does"
            )
            continue
        try:
            context.store.finish_intent(intent.id)
        except StorageError as error:
            # The Sentinels have forgotten the shard; repair only has to delete the intent.
            log.warning("shard %s: left to repair: %s", intent.shard, error)
    return warnings


def _options_like(
    context: ServiceContext, sentinels: Sequence[str], shard: str | None
) -> dict[str, str] | None:
    if shard is None:
        return None
    with context.sentinels(sentinels) as asked:
        return asked.options_of(shard)


def _store_intent(
    context: ServiceContext,
    pool: str,
    action: IntentAction,
    candidate: MasterCandidate,
    sentinels: Sequence[str],
) -> Intent:
    intent = context.store.add_intent(
        NewIntent(pool, candidate.shard, candidate.master, action, tuple(sentinels), context.owner)
    )
    if intent is None:
        raise RequestRefused(
            "shard-exists",
            f"Shard {candidate.shard!r} or the instance {candidate.master} is still being added or "
            "removed by another change, which ends when every Sentinel has taken it",
            "wait a few seconds and try again; if it lasts, start the Sentinels that are down",
        )
    return intent


def _record_outcome(
    candidate: MasterCandidate, outcome: SentinelOutcome, result: RegistrationResult
) -> None:
    count = len(outcome.done) + len(outcome.failed)
    reasons = "; ".join(f"{at}: {reason}" for at, reason in outcome.failed.items())
    if not outcome.majority:
        raise RequestRefused(
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


def _undo(context: ServiceContext, intents: Sequence[Intent], *, unsure: bool) -> None:
    """Undo the intents; those that cannot be undone now stay for repair.

    Args:
        unsure: their change may have been made; then only the store can tell.
    """
    for intent in intents:
        try:
            ours = context.store.claim_intent(intent.id)
        except StorageError:
            # The intent belongs to this change, which cannot happen any more if it has failed.
            ours = not unsure
        if ours:
            unregister(context, [intent])


def _masters_in_use(
    context: ServiceContext, candidates: Sequence[MasterCandidate], sentinels: Sequence[str]
) -> dict[str, str]:
    """Return each known use of a master, with its address: by the store, and by the Sentinels."""
    used = {
        f"shard {shard} of pool {pool}": address
        for (pool, shard), address in context.store.last_masters().items()
    }
    try:
        with context.sentinels(sentinels) as asked:
            monitored = asked.monitored()
    except SentinelUnavailableError as error:
        raise RequestRefused(
            "sentinel-failed", str(error), "check the addresses of the Sentinels, and start them"
        ) from error
    for candidate in candidates:
        if candidate.shard in monitored:
            raise RequestRefused(
                "shard-exists",
                f"The Sentinels already monitor {candidate.shard!r} "
                f"at {monitored[candidate.shard]}",
                "choose another name; if no pool uses it, SENTINEL REMOVE it first",
            )
    for name, address in monitored.items():
        used.setdefault(f"{name}, as the Sentinels say", address)
    return used


def _refuse_twins(candidates: Sequence[MasterCandidate], reports: Sequence[InstanceReport]) -> None:
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
