"""Pools: create, change settings, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cachemesh.core.names import check_name
from cachemesh.core.placement import Shard
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.words import counted
from metaserver.domain.errors import Problem, version_conflict
from metaserver.domain.planning import Plan, plan_create, plan_delete, plan_settings, quorum_of
from metaserver.domain.shard_state import NO_REPLICA
from metaserver.redis_io.admission import InstanceReport
from metaserver.service import registration
from metaserver.service.context import Change, Control, outline, too_slow
from metaserver.service.registration import Candidate
from metaserver.store import NewEvent, NewIntent


@dataclass(frozen=True)
class NewPool:
    """What a pool is created from; `masters` by shard name ("host:port").

    `placement` and `labels` are those of `planning.new_placement`.
    """

    pool: str
    sentinels: Sequence[str]
    shards: Sequence[Shard]
    masters: Mapping[str, str]
    quorum: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    allow_nonempty: bool = False
    placement: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def create(control: Control, actor: str, new: NewPool, *, dry_run: bool = False) -> Change:
    """Check every instance, register it with the Sentinels, and store the pool.

    Raises:
        Problem, InstanceRejected, InvalidDocumentError, StorageError: and nothing was changed.
    """
    check_name("pool", new.pool)
    plan = plan_create(
        new.pool,
        new.sentinels,
        new.shards,
        quorum=new.quorum,
        settings=new.settings,
        placement=new.placement,
        labels=new.labels,
    )
    if control.store.document(new.pool) is not None:
        raise _pool_exists(new.pool)
    candidates = [Candidate(shard.name, new.masters[shard.name]) for shard in new.shards]
    reports = registration.check(
        control, candidates, new.sentinels, allow_nonempty=new.allow_nonempty
    )
    steps = [registration.checked_step(each, reports[each.shard]) for each in candidates]
    version = control.store.next_version(new.pool)
    warnings = reservations(reports)
    after = _after(plan).replace(version=version)
    if dry_run:
        steps += [
            f"SENTINEL MONITOR {each.shard} on {counted(len(new.sentinels), 'Sentinel')}"
            for each in candidates
        ]
        return Change(plan, True, new.pool, version - 1, version, after, steps, {}, warnings)
    event = NewEvent("pool.create", actor, new.pool, None, plan.summary, None, outline(after))
    monitored = [Candidate(each.shard, reports[each.shard].address) for each in candidates]
    with registration.registered(
        control, new.pool, "create", monitored, new.sentinels, quorum_of(after)
    ) as result:
        stored = control.store.create_document(
            after, event, masters={m.shard: m.master for m in monitored}, intents=result.intents
        )
        if stored is None and control.store.document(new.pool) is not None:
            raise _pool_exists(new.pool)
        if stored is None:
            raise too_slow(new.pool)
    control.note(event, stored.version - 1, stored.version)
    steps += [*result.steps, f"store pool {new.pool} at version {stored.version}"]
    return Change(
        plan,
        False,
        new.pool,
        stored.version - 1,
        stored.version,
        stored,
        steps,
        {},
        [*warnings, *result.warnings],
    )


def change_settings(
    control: Control,
    actor: str,
    pool: str,
    changes: Mapping[str, Any],
    *,
    version: int | None = None,
    dry_run: bool = False,
) -> Change:
    """Set settings, or with None put them back to their defaults; every client applies them.

    Raises:
        Problem, InvalidDocumentError, StorageError: and nothing was changed.
    """
    before = control.state(pool, version).document
    plan = plan_settings(before, changes)
    event = NewEvent(
        "pool.settings",
        actor,
        pool,
        None,
        plan.summary,
        dict(before.settings),
        dict(_after(plan).settings),
    )
    return apply(control, plan, event, {}, dry_run=dry_run)


def delete(
    control: Control,
    actor: str,
    pool: str,
    *,
    version: int | None = None,
    dry_run: bool = False,
) -> Change:
    """Forget a pool and have the Sentinels forget its shards; the instances keep running.

    Raises:
        Problem, StorageError: and nothing was changed.
    """
    state = control.state(pool, version)
    before = state.document
    plan = plan_delete(before)
    drained = [sweep.shard for sweep in state.sweeps if sweep.drained]
    names = list(dict.fromkeys([*before.placement.names, *drained]))
    count = len(before.sentinels)
    steps = [f"SENTINEL REMOVE {name} on {counted(count, 'Sentinel')}" for name in names]
    if dry_run:
        return Change(plan, True, pool, before.version, before.version + 1, None, steps, {})
    event = NewEvent("pool.delete", actor, pool, None, plan.summary, outline(before), None)
    intents = control.store.delete_document(
        pool,
        before.version,
        event,
        intents=[
            NewIntent(
                pool,
                name,
                state.masters.get(name, ""),
                "delete",
                before.sentinels,
                control.owner,
            )
            for name in names
        ],
    )
    if intents is None:
        control.refuse_during_failover(pool)
        raise version_conflict(pool, before.version, control.state(pool).document.version)
    control.note(event, before.version, before.version + 1)
    warnings = registration.unregister(control, intents)
    return Change(plan, False, pool, before.version, before.version + 1, None, steps, {}, warnings)


def apply(
    control: Control,
    plan: Plan,
    event: NewEvent,
    masters: Mapping[str, str],
    *,
    keys: Mapping[str, int | None] | None = None,
    intents: Sequence[int] = (),
    dry_run: bool,
) -> Change:
    """Store a change that needs nothing but the document; unless it changes nothing."""
    before, after = plan.before, _after(plan)
    if before is None:
        raise ValueError(f"{plan.summary}: not a change of an existing pool")
    pool, version = before.pool, before.version
    steps = [
        f"remove keys from {shard} that it no longer owns"
        if shard in after.placement.names
        else f"unlink everything on {shard}"
        for shard in plan.losers
    ]
    if plan.changes_nothing:
        return Change(plan, dry_run, pool, version, version, before, ["nothing to do"], keys or {})
    if dry_run:
        after = after.replace(version=version + 1)
    else:
        after = control.replace(plan, event, masters, intents)
    steps.insert(0, f"store pool {pool} at version {version + 1}")
    return Change(plan, dry_run, pool, version, version + 1, after, steps, keys or {})


def reservations(reports: Mapping[str, InstanceReport]) -> list[str]:
    """A warning for each instance that brings keys along, or has no replica."""
    keys = [
        f"{report.address} brings {counted(report.keys, 'key')} along into shard {shard}; "
        "clients will be served those that it owns"
        for shard, report in reports.items()
        if report.keys
    ]
    alone = [
        f"shard {shard} ({report.address}) has {NO_REPLICA}"
        for shard, report in reports.items()
        if not report.replicas
    ]
    return keys + alone


def _after(plan: Plan) -> PoolDocument:
    if plan.after is None:
        raise ValueError(f"{plan.summary}: leaves no pool")
    return plan.after


def _pool_exists(pool: str) -> Problem:
    return Problem(
        "pool-exists",
        f"There is a pool {pool!r} already, or one is just being created",
        "choose another name, or change the one there is",
    )
