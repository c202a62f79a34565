"""A planned failover of a shard: asked for, recorded, carried out, and told."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from cachemesh.core.errors import CacheMeshError
from metaserver.domain.errors import Problem, shard_not_found
from metaserver.failover.handover import Handover, Stalled, Timings
from metaserver.failover.participant_instance import FENCE
from metaserver.failover.participant_sentinel import INFO_PERIOD
from metaserver.failover.participants import Side
from metaserver.failover.preconditions import Survey, agreed_master, survey
from metaserver.failover.recovery import missing, told
from metaserver.failover.resolution import TAKES, Settled, conclude, settle
from metaserver.failover.saved_settings import Notes, put_back
from metaserver.failover.sentinel_choice import Search, failed
from metaserver.failover.unresolved import StillMaster, Unsettled
from metaserver.redis_io.connection import reason_of
from metaserver.service.context import Control, log
from metaserver.store import Failover, NewFailover

TIMEOUT = 25.0  # seconds, unless another is asked for
_RESERVE = 4.0  # seconds of the timeout that are left for the handover itself


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    `to` is the replica to promote ("host:port"), `timeout` in seconds from when on nothing more
    is begun, `hurry` not to wait for the moment at which Sentinel notices the promotion soonest.
    """

    to: str | None = None
    timeout: float = TIMEOUT
    hurry: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Report:
    """What a failover did, or with `dry_run` would do."""

    pool: str
    shard: str
    dry_run: bool
    survey: Survey
    master: str
    steps: Sequence[str]
    warnings: Sequence[str] = ()
    timings: Timings = field(default_factory=Timings)

    def to_dict(self) -> dict[str, Any]:
        """As docs/api.md shows it."""
        behind = {each.address: each.behind for each in self.survey.candidates}
        return {
            "dry_run": self.dry_run,
            "pool": self.pool,
            "shard": self.shard,
            "summary": f"fail over shard {self.shard} from {self.survey.master} to {self.master}",
            "master_before": self.survey.master,
            "master_after": self.master,
            "lag_bytes": behind.get(self.master),
            "candidates": [{"address": at, "lag_bytes": lag} for at, lag in behind.items()],
            "steps": list(self.steps),
            "warnings": list(self.warnings),
            "timings": None if self.dry_run else self.timings.to_dict(),
        }


def fail_over(control: Control, actor: str, pool: str, shard: str, wish: Wish) -> Report:
    """Have a replica take over from the master, without losing a write.

    Raises:
        Problem: pool-not-found, shard-not-found; failover-in-progress, failover-refused: nothing
            was touched; failover-failed: it was undone, or is being settled.
        InstanceRejected: an address outside the allowed networks.
        StorageError: nothing was touched.
    """
    began = time.monotonic()
    document = control.state(pool).document
    if shard not in document.placement.names:
        raise shard_not_found(pool, shard)
    _refuse_second(control, pool, shard)
    with control.sentinels(document.sentinels) as sentinels:
        master, replicas = agreed_master(shard, sentinels.views([shard]))
    sentinel_addresses = document.sentinels
    with _side(control, shard, master, replicas, sentinel_addresses) as side:
        found = survey(side, wish.to)
    report = Report(pool, shard, wish.dry_run, found, found.chosen, _steps(found, wish.hurry))
    if wish.dry_run:
        return report
    record = control.store.begin_failover(
        NewFailover(pool, shard, master, sentinel_addresses, control.owner),
        within=wish.timeout + TAKES,
    )
    if record is None:
        raise _in_progress(shard)
    return _Attempt(control, actor, record, report, wish, began).run()


@dataclass
class _Attempt:
    """A failover that is in the store, until it is not any more, or left to repair."""

    control: Control
    actor: str
    record: Failover
    report: Report
    wish: Wish
    began: float
    notes: Notes = field(default_factory=Notes)
    ended: bool = False

    def run(self) -> Report:
        """Carry it out."""
        names = [each.address for each in self.report.survey.candidates]
        record = self.record
        self.control.failovers.add(record.id)
        try:
            with _side(self.control, record.shard, record.master, names, record.sentinels) as side:
                self._prepare(side)
                return self._hand_over(side)
        finally:
            self.control.failovers.discard(record.id)
            if not self.ended:
                self.control.store.note_failover(record.id, owner="")

    def _prepare(self, side: Side) -> None:
        """Find the Sentinel and the moment; undo what was set if that fails."""
        wait = INFO_PERIOD + 2.0
        search = Search(
            side,
            self.report.survey,
            self.wish.to,
            end=min(time.monotonic() + wait, self.began + self.wish.timeout - _RESERVE),
            hurry=self.wish.hurry,
            save=self._save,
            stopping=self.control.stopping,
        )
        names = tuple(side.replicas)
        try:
            self.notes = search.run(Notes(replicas=names))
            self.notes = self.notes.replace(fence=side.master.setting(FENCE))
            self._save(self.notes)
        except (redis.RedisError, CacheMeshError) as error:
            self._end(Settled(side.master.address, False, True, put_back(side, self.notes)), error)
            if isinstance(error, redis.RedisError):
                raise failed(
                    f"Failover of shard {side.shard!r}: {reason_of(error)}; nothing was paused",
                    "try again",
                    undone=True,
                ) from error
            raise

    def _hand_over(self, side: Side) -> Report:
        timings = self.report.timings
        timings.waited = time.monotonic() - self.began
        handover = Handover(side, self.notes, self.report.survey.attached, timings)
        error: Exception | None = None
        try:
            try:
                promoted = handover.run()
                handover.resume()
            except (redis.RedisError, Stalled) as stumbled:
                error = stumbled
                settled = settle(handover)
            else:
                settled = conclude(handover, promoted)
        except Unsettled as unsettled:
            why, following = str(unsettled), "it is settled as soon as that is possible"
            if isinstance(unsettled, StillMaster):
                following = unsettled.next_step
            elif error is not None:
                why = f"{_why(error)}; {why}"
            raise failed(
                f"Failover of shard {self.record.shard!r}: {why}",
                f"{following}; watch: GET /v1/events",
                undone=False,
            ) from unsettled
        self._end(settled, error)
        if not settled.promoted:
            raise failed(
                f"Failover of shard {self.record.shard!r}: {_why(error)}; {settled.master} stays "
                "master, and writes go on",
                "look at the replicas and the Sentinels (cachemesh shard show, cachemesh "
                "sentinel list), then try again",
                undone=True,
            ) from error
        return self._done(settled)

    def _done(self, settled: Settled) -> Report:
        report, known = self.report, [each.address for each in self.report.survey.candidates]
        warnings = [missing(settled)] if missing(settled) else []
        if settled.master != report.survey.chosen and settled.master in known:
            warnings.append(
                f"Sentinel chose {settled.master} instead of {report.survey.chosen}; "
                "it had everything too"
            )
        return Report(
            report.pool,
            report.shard,
            False,
            report.survey,
            settled.master,
            report.steps,
            warnings,
            report.timings,
        )

    def _save(self, notes: Notes) -> None:
        self.notes = notes
        if not self.control.store.note_failover(self.record.id, notes=notes.to_dict()):
            raise _in_progress(self.record.shard)

    def _end(self, settled: Settled, error: Exception | None) -> None:
        """Into the audit log, and out of the store, unless something is left to do."""
        why = None if error is None else _why(error)
        timings = self.report.timings.to_dict() if self.report.timings.began else {}
        event = told(self.record, settled, self.actor, why, dict(timings))
        log.info("%s by %s: %s", event.action, event.actor, event.detail)
        if settled.left or settled.watch is not None:
            self.control.store.record_event(event)
            return
        self.ended = self.control.store.end_failover(self.record.id, event, master=settled.master)
        self.control.changed()


def _side(
    control: Control,
    shard: str,
    master: str,
    replicas: Sequence[str],
    sentinels: Sequence[str],
) -> Side:
    return Side.of(control.config, control.networks, shard, master, replicas, sentinels)


def _steps(found: Survey, hurry: bool) -> list[str]:
    wait = f"wait for a Sentinel that will notice at once, up to {INFO_PERIOD:g} s; writes go on"
    return [
        f"check {found.master}, its replicas and its Sentinels",
        *([] if hurry else [wait]),
        f"CLIENT PAUSE WRITE on {found.master}, until its replicas have caught up",
        f"SENTINEL FAILOVER, until {found.chosen} is master",
        f"REPLICAOF {found.chosen} on {found.master}, then CLIENT UNPAUSE: the writes that "
        "waited go to the new master",
        "wait until the Sentinels agree",
    ]


def _refuse_second(control: Control, pool: str, shard: str) -> None:
    if any(f.pool == pool and f.shard == shard for f in control.store.failovers()):
        raise _in_progress(shard)


def _in_progress(shard: str) -> Problem:
    return Problem(
        "failover-in-progress",
        f"Shard {shard!r} is failing over, or an earlier failover is still being settled, or "
        "the shard is just being added or removed",
        "wait until it is over; watch: GET /v1/events",
    )


def _why(error: Exception | None) -> str:
    if isinstance(error, redis.RedisError):
        return reason_of(error)
    return "the Sentinels did not notice the promotion" if error is None else str(error)
