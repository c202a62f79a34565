"""Shards: add, set weight, remove."""

from __future__ import annotations

from dataclasses import dataclass

from cachemesh.core.placement import Shard
from cachemesh.core.words import counted
from metaserver.domain.planning import Plan, plan_add, plan_remove, plan_weight, quorum_of
from metaserver.service import registration
from metaserver.service.context import Change, Control, outline, refuse_during_sweep
from metaserver.service.pools import apply, reservations
from metaserver.service.registration import Candidate
from metaserver.store import NewEvent, PoolState


@dataclass(frozen=True)
class NewShard:
    """A shard to add, with its master ("host:port")."""

    shard: Shard
    master: str
    allow_nonempty: bool = False


def add(
    control: Control,
    actor: str,
    pool: str,
    new: NewShard,
    *,
    version: int | None = None,
    dry_run: bool = False,
) -> Change:
    """Check the instance, register it with the Sentinels, and deal the slots anew.

    Raises:
        Problem, InstanceRejected, InvalidDocumentError, StorageError: and nothing was changed.
    """
    state = control.state(pool, version)
    before, name = state.document, new.shard.name
    plan = plan_add(before, new.shard, new.master)
    refuse_during_sweep(plan, state)
    candidate = Candidate(name, new.master)
    reports = registration.check(
        control, [candidate], before.sentinels, allow_nonempty=new.allow_nonempty
    )
    report = reports[name]
    warnings = reservations(reports)
    first = registration.checked_step(candidate, report)
    keys = control.key_counts(pool)
    event = _event("shard.add", actor, plan, name, {"master": report.address})
    if dry_run:
        change = apply(control, plan, event, {}, keys=keys, dry_run=True)
        told = f"SENTINEL MONITOR {name} on {counted(len(before.sentinels), 'Sentinel')}"
        return change.replace(steps=[first, told, *change.steps], warnings=warnings)
    with registration.registered(
        control,
        pool,
        "add",
        [Candidate(name, report.address)],
        before.sentinels,
        quorum_of(before),
        like=before.placement.names[0],
    ) as result:
        masters = {**state.masters, name: report.address}
        change = apply(
            control, plan, event, masters, keys=keys, intents=result.intents, dry_run=False
        )
    return change.replace(
        steps=[first, *result.steps, *change.steps], warnings=[*warnings, *result.warnings]
    )


def set_weight(
    control: Control,
    actor: str,
    pool: str,
    name: str,
    weight: int,
    *,
    version: int | None = None,
    dry_run: bool = False,
) -> Change:
    """Give a shard another share of the slots.

    Raises:
        Problem, InvalidDocumentError, StorageError: and nothing was changed.
    """
    state = control.state(pool, version)
    plan = plan_weight(state.document, name, weight)
    refuse_during_sweep(plan, state)
    event = _event("shard.set-weight", actor, plan, name)
    keys = control.key_counts(pool)
    return apply(control, plan, event, _masters(control, state), keys=keys, dry_run=dry_run)


def remove(
    control: Control,
    actor: str,
    pool: str,
    name: str,
    *,
    version: int | None = None,
    dry_run: bool = False,
) -> Change:
    """Take a shard out; its keys go cold, and everything on it is unlinked before Sentinel
    forgets it.

    Raises:
        Problem, StorageError: and nothing was changed.
    """
    state = control.state(pool, version)
    plan = plan_remove(state.document, name)
    refuse_during_sweep(plan, state)
    control.refuse_during_failover(pool, [name])
    masters = _masters(control, state)
    keys = control.key_counts(pool)
    event = _event("shard.remove", actor, plan, name, {"master": masters.get(name)})
    change = apply(control, plan, event, masters, keys=keys, dry_run=dry_run)
    count = len(state.document.sentinels)
    last = f"SENTINEL REMOVE {name} on {counted(count, 'Sentinel')}, once it is empty"
    return change.replace(steps=[*change.steps, last])


def _masters(control: Control, state: PoolState) -> dict[str, str]:
    """Where each shard's master is: as remembered, and for the rest as the Sentinels say."""
    masters = dict(state.masters)
    missing = [name for name in state.document.placement.names if name not in masters]
    with control.sentinels(state.document.sentinels) as sentinels:
        for name in missing:
            address = sentinels.master_of(name)
            if address is not None:
                masters[name] = address
    return masters


def _event(
    action: str, actor: str, plan: Plan, name: str, more: dict[str, object] | None = None
) -> NewEvent:
    before, after = plan.before, plan.after
    if before is None or after is None:
        raise ValueError(f"{plan.summary}: not a change of an existing pool")
    return NewEvent(
        action,
        actor,
        before.pool,
        name,
        plan.summary,
        outline(before),
        {**outline(after.replace(version=before.version + 1)), **(more or {})},
    )
