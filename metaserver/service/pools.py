"""Pools: create, change settings, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cachemesh.core.names import check_name
from cachemesh.core.placement import Shard
from cachemesh.core.plurals import counted
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.degraded_pool import degraded_warnings
from metaserver.domain.errors import RequestRefused, version_conflict
from metaserver.domain.planning import (
    ChangePlan,
    plan_create,
    plan_delete,
    plan_settings,
    quorum_of,
)
from metaserver.domain.pool_pause import require_not_paused
from metaserver.domain.pool_state import NewIntent
from metaserver.domain.sentinel_change import change_of
from metaserver.domain.shard_state import NO_REPLICA
from metaserver.redis_io.admission import InstanceReport
from metaserver.redis_io.key_sampler import Sampling
from metaserver.service import registration, resizing
from metaserver.service.change import PoolChange, outline
from metaserver.service.context import ServiceContext, refuse_during_resize, too_slow
from metaserver.service.migration_plan import look_ahead
from metaserver.service.move_check import check_moves
from metaserver.service.registration import MasterCandidate

_SAMPLING = Sampling()


@dataclass(frozen=True)
class NewPool:
    """What a pool is created from.

    Attributes:
        masters: shard -> address of its master.
        placement, labels: as in `planning.new_placement`.
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


def create(
    context: ServiceContext, actor: str, new: NewPool, *, dry_run: bool = False
) -> PoolChange:
    """Check every instance, register the shards with the Sentinels, and store the pool.

    Raises:
        RequestRefused, InstanceRejected, InvalidDocumentError, StorageError: nothing was changed.
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
    if context.store.document(new.pool) is not None:
        raise _pool_exists(new.pool)
    candidates = [MasterCandidate(shard.name, new.masters[shard.name]) for shard in new.shards]
    reports = registration.check(
        context, candidates, new.sentinels, allow_nonempty=new.allow_nonempty
    )
    steps = [registration.checked_step(each, reports[each.shard]) for each in candidates]
    version = context.store.next_version(new.pool)
    warnings = reservations(reports)
    after = _document_after(plan).replace(version=version)
    if dry_run:
        steps += [
            f"SENTINEL MONITOR {each.shard} on {counted(len(new.sentinels), 'Sentinel')}"
            for each in candidates
        ]
        return PoolChange(plan, True, new.pool, version - 1, version, after, steps, {}, warnings)
    event = NewEvent("pool.create", actor, new.pool, None, plan.summary, None, outline(after))
    monitored = [MasterCandidate(each.shard, reports[each.shard].address) for each in candidates]
    with registration.registered(
        context, new.pool, "create", monitored, new.sentinels, quorum_of(after)
    ) as result:
        stored = context.store.create_document(
            after, event, masters={m.shard: m.master for m in monitored}, intents=result.intents
        )
        if stored is None and context.store.document(new.pool) is not None:
            raise _pool_exists(new.pool)
        if stored is None:
            raise too_slow(new.pool)
    context.announce(event, stored.version - 1, stored.version)
    steps += [*result.steps, f"store pool {new.pool} at version {stored.version}"]
    return PoolChange(
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
    context: ServiceContext,
    actor: str,
    pool: str,
    changes: Mapping[str, Any],
    *,
    version: int | None = None,
    dry_run: bool = False,
) -> PoolChange:
    """Set settings, or with None reset them to their defaults; every client applies them.

    Raises:
        RequestRefused, InvalidDocumentError, StorageError: nothing was changed.
    """
    before = context.state(pool, version).document
    refuse_during_resize(before)
    plan = plan_settings(before, changes)
    event = NewEvent(
        "pool.settings",
        actor,
        pool,
        None,
        plan.summary,
        dict(before.settings),
        dict(_document_after(plan).settings),
    )
    return apply(context, plan, event, {}, dry_run=dry_run)


def delete(
    context: ServiceContext,
    actor: str,
    pool: str,
    *,
    version: int | None = None,
    dry_run: bool = False,
) -> PoolChange:
    """Delete a pool and have the Sentinels forget its shards; the instances keep running.

    Raises:
        RequestRefused, StorageError: nothing was changed.
    """
    state = context.state(pool, version)
    before = state.document
    require_not_paused(before)
    refuse_during_resize(before)
    plan = plan_delete(before)
    drained = [sweep.shard for sweep in state.sweeps if sweep.drained]
    names = list(dict.fromkeys([*before.placement.names, *drained]))
    former = change_of(before)  # Sentinels that are still to be told
    sentinels = (*before.sentinels, *(() if former is None else former.tell))
    count = len(sentinels)
    steps = [f"SENTINEL REMOVE {name} on {counted(count, 'Sentinel')}" for name in names]
    if dry_run:
        return PoolChange(plan, True, pool, before.version, before.version + 1, None, steps, {})
    event = NewEvent("pool.delete", actor, pool, None, plan.summary, outline(before), None)
    intents = context.store.delete_document(
        pool,
        before.version,
        event,
        intents=[
            NewIntent(
                pool,
                name,
                state.masters.get(name, ""),
                "delete",
                sentinels,
                context.owner,
            )
            for name in names
        ],
    )
    if intents is None:
        context.refuse_during_failover(pool)
        raise version_conflict(pool, before.version, context.state(pool).document.version)
    context.announce(event, before.version, before.version + 1)
    warnings = registration.unregister(context, intents)
    return PoolChange(
        plan, False, pool, before.version, before.version + 1, None, steps, {}, warnings
    )


def apply(
    context: ServiceContext,
    plan: ChangePlan,
    event: NewEvent,
    masters: Mapping[str, str],
    *,
    keys: Mapping[str, int | None] | None = None,
    intents: Sequence[int] = (),
    sampling: Sampling = _SAMPLING,
    dry_run: bool,
) -> PoolChange:
    """Store a change that needs nothing but the document, or begin it as a resize if keys move.

    Args:
        masters: shard -> address of its master, also of a shard that is to be added.
        keys: shard -> its number of keys, for the estimate of keys that move.
        intents: ids of the intents that the change completes.
        sampling: of a dry run, what is looked at where keys are moved.

    Raises:
        RequestRefused: move-impossible: keys cannot be moved, and nothing was changed.
    """
    before, after = plan.before, _document_after(plan)
    if before is None:
        raise ValueError(f"{plan.summary}: not a change of an existing pool")
    pool, version = before.pool, before.version
    if plan.changes_nothing:
        return PoolChange(
            plan, dry_run, pool, version, version, before, ["nothing to do"], keys or {}
        )
    # A shard that is registered by now was checked before.
    warnings = [] if intents else check_moves(context, plan, masters)
    migration = None
    if dry_run:
        after = after.replace(version=version + 1)
        migration = look_ahead(context, plan, masters, sampling)
        moving = plan.losers + plan.gainers if plan.strategy == "move" else ()
        warnings += degraded_warnings(context.monitor.status(pool)["shards"], moving)
        warnings += resizing.not_told(context, plan, masters)
        warnings += [] if migration is None else migration.warnings
    elif plan.moves_keys:
        after = context.begin_resize(plan, event, masters, intents)
    else:
        after = context.replace(plan, event, masters, intents)
    done = PoolChange(
        plan, dry_run, pool, version, after.version, after, _steps(plan, version), keys or {}
    )
    return done.replace(warnings=warnings, migration=migration)


def _steps(plan: ChangePlan, version: int) -> list[str]:
    """Return in words what a change does to a pool at a version."""
    after = _document_after(plan)
    stored = [f"store pool {after.pool} at version {version + 1}"]
    return (resizing.steps(plan) if plan.moves_keys else stored) + [
        f"remove keys from {shard} that it no longer owns"
        if shard in after.placement.names
        else f"unlink everything on {shard}"
        for shard in plan.losers
    ]


def reservations(reports: Mapping[str, InstanceReport]) -> list[str]:
    """Return a warning for each instance that holds keys already, or has no replica."""
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


def _document_after(plan: ChangePlan) -> PoolDocument:
    if plan.after is None:
        raise ValueError(f"{plan.summary}: leaves no pool")
    return plan.after


def _pool_exists(pool: str) -> RequestRefused:
    return RequestRefused(
        "pool-exists",
        f"There is a pool {pool!r} already, or one is just being created",
        "choose another name, or change the one there is",
    )
