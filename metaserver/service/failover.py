"""A planned failover of a shard: requested, recorded, carried out, and reported."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import redis

from cachemesh.core.errors import CacheMeshError
from metaserver.domain.errors import RequestRefused, shard_not_found
from metaserver.domain.pool_state import Failover, NewFailover
from metaserver.failover.handover import Handover, HandoverStalled, Timings
from metaserver.failover.participant_instance import FENCE
from metaserver.failover.participant_sentinel import INFO_PERIOD
from metaserver.failover.participants import Participants
from metaserver.failover.preconditions import FailoverPlan, agreed_master, check_preconditions
from metaserver.failover.recovery import failover_event, remaining
from metaserver.failover.resolution import RESOLVE_WITHIN, Resolution, conclude, resolve
from metaserver.failover.saved_settings import SavedSettings, restore
from metaserver.failover.sentinel_choice import SentinelSearch, failover_failed
from metaserver.failover.unresolved import StillMaster, Unresolved
from metaserver.redis_io.bounded_connection import reason_of
from metaserver.service.context import ServiceContext, log

TIMEOUT = 25.0  # seconds, unless another is asked for
_RESERVE = 4.0  # seconds of the timeout that are left for the handover itself


@dataclass(frozen=True)
class FailoverRequest:
    """A request for a failover.

    Attributes:
        to: address of the replica to promote; None for the one that Sentinel would choose.
        timeout: seconds after which nothing more is begun.
        hurry: do not wait for the moment at which Sentinel notices the promotion soonest.
    """

    to: str | None = None
    timeout: float = TIMEOUT
    hurry: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class FailoverReport:
    """The outcome of a failover, or with `dry_run` its preview.

    Attributes:
        master: the new master.
    """

    pool: str
    shard: str
    dry_run: bool
    plan: FailoverPlan
    master: str
    steps: Sequence[str]
    warnings: Sequence[str] = ()
    timings: Timings = field(default_factory=Timings)

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as docs/api.md shows it."""
        behind = {each.address: each.behind for each in self.plan.candidates}
        return {
            "dry_run": self.dry_run,
            "pool": self.pool,
            "shard": self.shard,
            "summary": f"fail over shard {self.shard} from {self.plan.master} to {self.master}",
            "master_before": self.plan.master,
            "master_after": self.master,
            "lag_bytes": behind.get(self.master),
            "candidates": [{"address": at, "lag_bytes": lag} for at, lag in behind.items()],
            "steps": list(self.steps),
            "warnings": list(self.warnings),
            "timings": None if self.dry_run else self.timings.to_dict(),
        }


def fail_over(
    context: ServiceContext, actor: str, pool: str, shard: str, request: FailoverRequest
) -> FailoverReport:
    """Have a replica take over from the master, without losing a write.

    Raises:
        RequestRefused: pool-not-found, shard-not-found, failover-in-progress, failover-refused:
            nothing was changed; failover-failed: it was undone, or is being resolved.
        InstanceRejected: an address is outside the allowed networks.
        StorageError: nothing was changed.
    """
    began = time.monotonic()
    document = context.state(pool).document
    if shard not in document.placement.names:
        raise shard_not_found(pool, shard)
    _refuse_another(context, pool, shard)
    with context.sentinels(document.sentinels) as sentinels:
        master, replicas = agreed_master(shard, sentinels.views([shard]))
    sentinel_addresses = document.sentinels
    with _participants(context, shard, master, replicas, sentinel_addresses) as participants:
        plan = check_preconditions(participants, request.to)
    report = FailoverReport(
        pool, shard, request.dry_run, plan, plan.chosen, _steps(plan, request.hurry)
    )
    if request.dry_run:
        return report
    record = context.store.begin_failover(
        NewFailover(pool, shard, master, sentinel_addresses, context.owner),
        within=request.timeout + RESOLVE_WITHIN,
    )
    if record is None:
        raise _in_progress(shard)
    return _FailoverAttempt(context, actor, record, report, request, began).run()


@dataclass
class _FailoverAttempt:
    """A failover that is in the store, until it has ended or is left to repair."""

    context: ServiceContext
    actor: str
    record: Failover
    report: FailoverReport
    request: FailoverRequest
    began: float
    saved: SavedSettings = field(default_factory=SavedSettings)
    ended: bool = False

    def run(self) -> FailoverReport:
        """Carry the failover out."""
        names = [each.address for each in self.report.plan.candidates]
        record = self.record
        self.context.failovers.add(record.id)
        try:
            with _participants(
                self.context, record.shard, record.master, names, record.sentinels
            ) as participants:
                self._prepare(participants)
                return self._hand_over(participants)
        finally:
            self.context.failovers.discard(record.id)
            if not self.ended:
                self.context.store.update_failover(record.id, owner="")

    def _prepare(self, participants: Participants) -> None:
        """Find the leader and its moment; restore the settings if that fails."""
        wait = INFO_PERIOD + 2.0
        search = SentinelSearch(
            participants,
            self.report.plan,
            self.request.to,
            end=min(time.monotonic() + wait, self.began + self.request.timeout - _RESERVE),
            hurry=self.request.hurry,
            save=self._save,
            stopping=self.context.stopping,
        )
        names = tuple(participants.replicas)
        try:
            self.saved = search.run(SavedSettings(replicas=names))
            self.saved = self.saved.replace(fence=participants.master.setting(FENCE))
            self._save(self.saved)
        except (redis.RedisError, CacheMeshError) as error:
            self._end(
                Resolution(
                    participants.master.address, False, True, restore(participants, self.saved)
                ),
                error,
            )
            if isinstance(error, redis.RedisError):
                raise failover_failed(
                    f"Failover of shard {self.record.shard!r}: {reason_of(error)}; "
                    "nothing was paused",
                    "try again",
                    undone=True,
                ) from error
            raise

    def _hand_over(self, participants: Participants) -> FailoverReport:
        timings = self.report.timings
        timings.waited = time.monotonic() - self.began
        handover = Handover(participants, self.saved, self.report.plan.attached, timings)
        error: Exception | None = None
        try:
            try:
                promoted = handover.run()
                handover.resume()
            except (redis.RedisError, HandoverStalled) as failure:
                error = failure
                resolution = resolve(handover)
            else:
                resolution = conclude(handover, promoted)
        except Unresolved as unresolved:
            why, following = str(unresolved), "it is resolved as soon as that is possible"
            if isinstance(unresolved, StillMaster):
                following = unresolved.next_step
            elif error is not None:
                why = f"{_why(error)}; {why}"
            raise failover_failed(
                f"Failover of shard {self.record.shard!r}: {why}",
                f"{following}; watch: GET /v1/events",
                undone=False,
            ) from unresolved
        self._end(resolution, error)
        if not resolution.promoted:
            raise failover_failed(
                f"Failover of shard {self.record.shard!r}: {_why(error)}; "
                f"{resolution.master} stays master, and writes go on",
                "look at the replicas and the Sentinels (cachemesh shard show, cachemesh "
                "sentinel list), then try again",
                undone=True,
            ) from error
        return self._done(resolution)

    def _done(self, resolution: Resolution) -> FailoverReport:
        report, known = self.report, [each.address for each in self.report.plan.candidates]
        warnings = [remaining(resolution)] if remaining(resolution) else []
        if resolution.master != report.plan.chosen and resolution.master in known:
            warnings.append(
                f"Sentinel chose {resolution.master} instead of {report.plan.chosen}; "
                "it had everything too"
            )
        return replace(report, master=resolution.master, warnings=warnings)

    def _save(self, saved: SavedSettings) -> None:
        self.saved = saved
        if not self.context.store.update_failover(self.record.id, saved_settings=saved.to_dict()):
            raise _in_progress(self.record.shard)

    def _end(self, resolution: Resolution, error: Exception | None) -> None:
        """Log the failover, and delete it from the store unless something is left to restore."""
        why = None if error is None else _why(error)
        timings = self.report.timings.to_dict() if self.report.timings.began else {}
        event = failover_event(self.record, resolution, self.actor, why, dict(timings))
        log.info("%s by %s: %s", event.action, event.actor, event.detail)
        if resolution.unrestored or resolution.silent_sentinel is not None:
            self.context.store.record_event(event)
            return
        self.ended = self.context.store.end_failover(
            self.record.id, event, master=resolution.master
        )
        self.context.changed()


def _participants(
    context: ServiceContext,
    shard: str,
    master: str,
    replicas: Sequence[str],
    sentinels: Sequence[str],
) -> Participants:
    return Participants.from_addresses(
        context.config, context.networks, shard, master, replicas, sentinels
    )


def _steps(plan: FailoverPlan, hurry: bool) -> list[str]:
    wait = f"wait for a Sentinel that will notice at once, up to {INFO_PERIOD:g} s; writes go on"
    return [
        f"check {plan.master}, its replicas and its Sentinels",
        *([] if hurry else [wait]),
        f"CLIENT PAUSE WRITE on {plan.master}, until its replicas have caught up",
        f"SENTINEL FAILOVER, until {plan.chosen} is master",
        f"REPLICAOF {plan.chosen} on {plan.master}, then CLIENT UNPAUSE: the writes that "
        "waited go to the new master",
        "wait until the Sentinels agree",
    ]


def _refuse_another(context: ServiceContext, pool: str, shard: str) -> None:
    if any(f.pool == pool and f.shard == shard for f in context.store.failovers()):
        raise _in_progress(shard)


def _in_progress(shard: str) -> RequestRefused:
    return RequestRefused(
        "failover-in-progress",
        f"Shard {shard!r} is failing over, or an earlier failover is still being resolved, or "
        "the shard is just being added or removed",
        "wait until it is over; watch: GET /v1/events",
    )


def _why(error: Exception | None) -> str:
    if isinstance(error, redis.RedisError):
        return reason_of(error)
    return "the Sentinels did not notice the promotion" if error is None else str(error)
