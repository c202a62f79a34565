"""Shards: add one, set its weight, remove one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from cachemesh.core.placement import Shard
from cachemesh.core.plurals import counted
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.errors import RequestRefused
from metaserver.domain.planning import (
    ChangePlan,
    Strategy,
    plan_add,
    plan_remove,
    plan_weight,
    quorum_of,
)
from metaserver.domain.pool_state import PoolState
from metaserver.redis_io.key_sampler import Sampling
from metaserver.service import registration, resizing
from metaserver.service.change import PoolChange, outline
from metaserver.service.context import ServiceContext, refuse_during_sweep
from metaserver.service.move_check import check_moves
from metaserver.service.pools import apply, reservations
from metaserver.service.registration import MasterCandidate


@dataclass(frozen=True)
class NewShard:
    """A shard to add, with the address of its master."""

    shard: Shard
    master: str
    allow_nonempty: bool = False


@dataclass(frozen=True)
class How:
    """What becomes of keys that change their shard.

    Attributes:
        strategy, keys_per_second, max_latency: as of `ChangePlan`.
        sampling: what a dry run looks at.
    """

    strategy: Strategy = "move"
    keys_per_second: int = 0
    max_latency: int = 0
    sampling: Sampling = field(default_factory=Sampling)

    def of(self, plan: ChangePlan) -> ChangePlan:
        """Return a plan of this kind."""
        return replace(
            plan,
            strategy=self.strategy,
            keys_per_second=self.keys_per_second,
            max_latency=self.max_latency,
        )


MOVE = How()


def add(
    context: ServiceContext,
    actor: str,
    pool: str,
    new: NewShard,
    *,
    how: How = MOVE,
    version: int | None = None,
    dry_run: bool = False,
) -> PoolChange:
    """Check the instance, register the shard with the Sentinels, and give it its share of keys.

    Raises:
        RequestRefused, InstanceRejected, InvalidDocumentError, StorageError: nothing was changed.
    """
    if new.allow_nonempty and how.strategy == "move":
        raise RequestRefused(
            "invalid-content",
            "Keys move to an empty shard alone: what it holds would stay in their place",
            "empty the instance and leave allow_nonempty out, or use strategy drop",
        )
    state = context.state(pool, version)
    before, name = state.document, new.shard.name
    plan = how.of(plan_add(before, new.shard, new.master))
    refuse_during_sweep(plan, state)
    candidate = MasterCandidate(name, new.master)
    reports = registration.check(
        context, [candidate], before.sentinels, allow_nonempty=new.allow_nonempty
    )
    report = reports[name]
    warnings = reservations(reports)
    first = registration.checked_step(candidate, report)
    keys = context.key_counts(pool)
    event = _event("shard.add", actor, plan, name, {"master": report.address})
    masters = {**state.masters, name: report.address}
    if dry_run:
        change = apply(
            context, plan, event, masters, keys=keys, sampling=how.sampling, dry_run=True
        )
        told = f"SENTINEL MONITOR {name} on {counted(len(before.sentinels), 'Sentinel')}"
        return change.replace(
            steps=[first, told, *change.steps], warnings=[*warnings, *change.warnings]
        )
    check_moves(context, plan, masters)  # before any Sentinel hears of the shard
    with registration.registered(
        context,
        pool,
        "add",
        [MasterCandidate(name, report.address)],
        before.sentinels,
        quorum_of(before),
        like=before.placement.names[0],
    ) as result:
        change = apply(
            context, plan, event, masters, keys=keys, intents=result.intents, dry_run=False
        )
    change = resizing.carried_out(context, change)
    return change.replace(
        steps=[first, *result.steps, *change.steps], warnings=[*warnings, *result.warnings]
    )


def set_weight(
    context: ServiceContext,
    actor: str,
    pool: str,
    name: str,
    weight: int,
    *,
    how: How = MOVE,
    version: int | None = None,
    dry_run: bool = False,
) -> PoolChange:
    """Give a shard another share of the keys.

    Raises:
        RequestRefused, InvalidDocumentError, StorageError: nothing was changed.
    """
    state = context.state(pool, version)
    plan = how.of(plan_weight(state.document, name, weight))
    refuse_during_sweep(plan, state)
    event = _event("shard.set-weight", actor, plan, name)
    keys = context.key_counts(pool)
    masters = known_masters(context, state)
    change = apply(context, plan, event, masters, keys=keys, sampling=how.sampling, dry_run=dry_run)
    return resizing.carried_out(context, change)


def remove(
    context: ServiceContext,
    actor: str,
    pool: str,
    name: str,
    *,
    how: How = MOVE,
    version: int | None = None,
    dry_run: bool = False,
) -> PoolChange:
    """Remove a shard. Keys that are left there are deleted before Sentinel forgets the shard.

    Raises:
        RequestRefused, StorageError: nothing was changed.
    """
    state = context.state(pool, version)
    plan = how.of(plan_remove(state.document, name))
    refuse_during_sweep(plan, state)
    context.refuse_during_failover(pool, [name])
    masters = known_masters(context, state)
    keys = context.key_counts(pool)
    event = _event("shard.remove", actor, plan, name, {"master": masters.get(name)})
    change = apply(context, plan, event, masters, keys=keys, sampling=how.sampling, dry_run=dry_run)
    change = resizing.carried_out(context, change)
    count = len(state.document.sentinels)
    last = f"SENTINEL REMOVE {name} on {counted(count, 'Sentinel')}, once it is empty"
    return change.replace(steps=[*change.steps, last])


def known_masters(context: ServiceContext, state: PoolState) -> dict[str, str]:
    """Return each shard's master: the last known one, else the one that most Sentinels name."""
    masters = dict(state.masters)
    missing = [name for name in state.document.placement.names if name not in masters]
    with context.sentinels(state.document.sentinels) as sentinels:
        for name in missing:
            address = sentinels.master_of(name)
            if address is not None:
                masters[name] = address
    return masters


def _event(
    action: str, actor: str, plan: ChangePlan, name: str, more: dict[str, object] | None = None
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
