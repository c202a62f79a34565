"""The Sentinels of a pool: add one, remove one; `metaserver.domain.sentinel_change` has the rules.

A new Sentinel is in use once it knows all that the others know, and only then clients hear of it. A
crash before that has repair undo it: the intents of `metaserver.service.registration`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from cachemesh.core.errors import SentinelUnavailableError
from cachemesh.core.names import parse_address
from cachemesh.core.plurals import counted
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.errors import RequestRefused
from metaserver.domain.planning import ChangePlan, quorum_of
from metaserver.domain.pool_pause import require_not_paused
from metaserver.domain.pool_state import PoolState
from metaserver.domain.sentinel_change import (
    change_of,
    forgotten_replicas,
    plan_add_sentinel,
    plan_remove_sentinel,
    require_removable,
    reservations,
)
from metaserver.domain.sentinel_view import SentinelView
from metaserver.service import registration
from metaserver.service.change import PoolChange
from metaserver.service.context import ServiceContext, refuse_during_resize
from metaserver.service.registration import MasterCandidate

JOINS_WITHIN = 10.0  # seconds for a new Sentinel to know the others and the replicas
SETTLES_WITHIN = 15.0  # seconds that a call waits until every Sentinel has taken the change
_LOOK_EVERY = 0.1  # seconds


def add(
    context: ServiceContext,
    actor: str,
    pool: str,
    sentinel: str,
    *,
    version: int | None = None,
    dry_run: bool = False,
) -> PoolChange:
    """Have another Sentinel monitor every shard, and raise the quorum to a majority of all.

    Raises:
        RequestRefused: among others shard-exists: it monitors a shard of this name elsewhere;
            sentinel-failed: it does not answer, or does not get to know the others.
        InstanceRejected, InvalidDocumentError, StorageError: nothing was changed.
    """
    sentinel = str(parse_address(sentinel))
    state = _changeable(context, pool, version)
    before = state.document
    plan = plan_add_sentinel(before, sentinel)
    after = _after(plan)
    context.networks.check(sentinel)
    candidates, views = _masters(context, before)
    _check_new(context, sentinel, before, candidates)
    warnings = reservations(after)
    counts = counted(len(candidates), "shard")
    steps = [f"check {sentinel}: a Sentinel that monitors no other shard of these names"]
    if dry_run:
        steps.append(f"SENTINEL MONITOR of {counts} on {sentinel}, until it knows the others")
        return _preview(plan, [*steps, *_last_steps(after)], warnings)
    with registration.registered(
        context,
        pool,
        "add",
        candidates,
        [sentinel],
        quorum_of(after),
        options=_options(views),
    ) as result:
        _await_joined(context, sentinel, candidates, views)
        stored = context.replace(
            plan, _event("sentinel.add", actor, plan, sentinel), {}, result.intents
        )
    steps += [f"SENTINEL MONITOR of {counts} on {sentinel}", *_last_steps(after)]
    return _settled(context, _made(plan, stored, steps, warnings))


def remove(
    context: ServiceContext,
    actor: str,
    pool: str,
    sentinel: str,
    *,
    force: bool = False,
    version: int | None = None,
    dry_run: bool = False,
) -> PoolChange:
    """Have a Sentinel forget every shard, the others forget it, and fit the quorum.

    Args:
        force: remove it although it does not answer, or too few others do.

    Raises:
        RequestRefused, InvalidDocumentError, StorageError: nothing was changed.
    """
    sentinel = str(parse_address(sentinel))
    state = _changeable(context, pool, version)
    before = state.document
    plan_remove_sentinel(before, sentinel, told=False)  # for what it refuses
    with context.sentinels(before.sentinels) as group:
        views = group.views(before.placement.names)
    require_removable(before, sentinel, views, force=force)
    error = views[sentinel].error
    plan = plan_remove_sentinel(before, sentinel, told=error is None)
    after = _after(plan)
    warnings = [*reservations(after), *forgotten_replicas(context.monitor.status(pool)["shards"])]
    counts = counted(len(before.placement.names), "shard")
    reset = f"SENTINEL RESET of {counts} on {_on(after)}, one after the other"
    steps = [*_last_steps(after), reset]
    if error is None:
        steps.insert(1, f"SENTINEL REMOVE of {counts} on {sentinel}")
    else:
        warnings.append(
            f"{sentinel} does not answer ({error}), and is not told: before it runs again, delete "
            "its configuration, or it votes on failovers"
        )
    if dry_run:
        return _preview(plan, steps, warnings)
    stored = context.replace(plan, _event("sentinel.remove", actor, plan, sentinel), {})
    return _settled(context, _made(plan, stored, steps, warnings))


def _changeable(context: ServiceContext, pool: str, version: int | None) -> PoolState:
    """Return the state of a pool whose Sentinels may be changed now."""
    state = context.state(pool, version)
    require_not_paused(state.document)
    refuse_during_resize(state.document)
    context.refuse_during_failover(pool)
    return state


def _masters(
    context: ServiceContext, document: PoolDocument
) -> tuple[list[MasterCandidate], Mapping[str, SentinelView]]:
    """Return the masters that the Sentinels agree upon, and what each of these says.

    Raises:
        RequestRefused: sentinel-refused: of some shard they name none, or different ones.
    """
    names = document.placement.names
    with context.sentinels(document.sentinels) as group:
        agreed, views = group.agreed(names), group.views(names)
    unclear = [name for name in names if agreed.get(name) is None]
    if unclear:
        raise RequestRefused(
            "sentinel-refused",
            f"The Sentinels of pool {document.pool!r} do not name one master of {unclear[0]}: half "
            "of them or more do not answer, or they differ",
            "wait for the end of a failover, or remove those that are gone for good; try again",
        )
    return [MasterCandidate(name, str(agreed[name])) for name in names], views


def _check_new(
    context: ServiceContext,
    sentinel: str,
    document: PoolDocument,
    candidates: Sequence[MasterCandidate],
) -> None:
    """Refuse a Sentinel that does not answer, is known already, or has a shard of the same name."""
    with context.sentinels([*document.sentinels, sentinel]) as group:
        ids = group.ids()
    same = [at for at, told in ids.items() if told == ids.get(sentinel) and at != sentinel]
    if same:
        raise RequestRefused(
            "sentinel-exists",
            f"{sentinel} has the same id as {same[0]}, so that others take both for one",
            "give another address; where the configuration was copied, delete its line "
            "'sentinel myid' and restart the Sentinel",
        )
    try:
        with context.sentinels([sentinel]) as group:
            monitored = group.monitored()
    except SentinelUnavailableError as error:
        raise RequestRefused(
            "sentinel-failed", str(error), "check the address and the password of the Sentinel"
        ) from error
    for shard, master in ((each.shard, each.master) for each in candidates):
        if monitored.get(shard, master) != master:
            raise RequestRefused(
                "shard-exists",
                f"{sentinel} monitors a shard {shard!r} already, at {monitored[shard]} and not at "
                f"{master}",
                f"if no other pool uses it: SENTINEL REMOVE {shard} there, then try again",
            )


def _await_joined(
    context: ServiceContext,
    sentinel: str,
    candidates: Sequence[MasterCandidate],
    views: Mapping[str, SentinelView],
) -> None:
    """Wait until the new Sentinel reaches every master, and it and the others know each other.

    Raises:
        RequestRefused: sentinel-failed: it does not within `JOINS_WITHIN`.
    """
    names = [each.shard for each in candidates]
    others = [at for at, view in views.items() if view.error is None]
    end = time.monotonic() + JOINS_WITHIN
    with context.sentinels([sentinel, *others]) as group:
        while (lacking := _lacking(group.views(names), sentinel, names)) is not None:
            if time.monotonic() >= end or context.stopping.is_set():
                raise RequestRefused(
                    "sentinel-failed",
                    f"{sentinel} was told of the shards, and does not get to know them: {lacking}",
                    "check that it reaches the instances and the other Sentinels, they reach it, "
                    "and its passwords are right; then try again",
                    failed={sentinel: lacking},
                )
            time.sleep(_LOOK_EVERY)


def _lacking(views: Mapping[str, SentinelView], sentinel: str, names: Sequence[str]) -> str | None:
    """Return what a new Sentinel, or one of the others, does not know yet; None if nothing."""
    new = views[sentinel]
    if new.error is not None:
        return new.error
    for name in names:
        if name not in new.shards:
            return f"it does not monitor {name}"
        if not new.shards[name].flags.isdisjoint(("s_down", "disconnected")):
            return f"it does not reach {new.shards[name].master}, the master of {name}"
        for at, view in views.items():
            if name in view.shards and view.shards[name].sentinels < len(views):
                known = counted(view.shards[name].sentinels - 1, "other Sentinel")
                return f"of {name} {at} knows {known}, of {len(views) - 1}"
    return None


def _options(views: Mapping[str, SentinelView]) -> dict[str, Mapping[str, str]]:
    """Return the Sentinel options that each shard is monitored with."""
    return {shard: said.options for view in views.values() for shard, said in view.shards.items()}


def _settled(context: ServiceContext, change: PoolChange) -> PoolChange:
    """Wait until every Sentinel has taken the change, for a bounded time."""
    end = time.monotonic() + SETTLES_WITHIN
    while True:
        document = context.state(change.pool).document
        change = change.replace(after=document, version_after=document.version)
        if change_of(document) is None:
            return change
        if time.monotonic() >= end or context.stopping.is_set():
            late = (
                "not every Sentinel has taken the change yet; the metaserver that leads goes on "
                "with it, and the event sentinel.settled tells the end"
            )
            return change.replace(warnings=[*change.warnings, late])
        time.sleep(_LOOK_EVERY)


def _last_steps(after: PoolDocument) -> list[str]:
    quorum = f"SENTINEL SET quorum {quorum_of(after)} of every shard on {_on(after)}"
    return [f"store pool {after.pool} at version {after.version + 1}", quorum]


def _on(document: PoolDocument) -> str:
    return counted(len(document.sentinels), "Sentinel")


def _after(plan: ChangePlan) -> PoolDocument:
    assert plan.after is not None  # as of every change of Sentinels
    return plan.after


def _preview(plan: ChangePlan, steps: Sequence[str], warnings: Sequence[str]) -> PoolChange:
    after = _after(plan)
    version, after = after.version, after.replace(version=after.version + 1)
    return PoolChange(
        plan, True, after.pool, version, after.version, after, steps, {}, list(warnings)
    )


def _made(
    plan: ChangePlan, stored: PoolDocument, steps: Sequence[str], warnings: Sequence[str]
) -> PoolChange:
    before = _after(plan).version
    return PoolChange(
        plan, False, stored.pool, before, stored.version, stored, steps, {}, list(warnings)
    )


def _event(action: str, actor: str, plan: ChangePlan, sentinel: str) -> NewEvent:
    before, after = plan.before, _after(plan)
    assert before is not None  # as of every change of Sentinels

    def shown(document: PoolDocument, version: int) -> dict[str, object]:
        sentinels, quorum = list(document.sentinels), quorum_of(document)
        return {"version": version, "sentinels": sentinels, "quorum": quorum}

    return NewEvent(
        action,
        actor,
        after.pool,
        sentinel,
        plan.summary,
        shown(before, before.version),
        shown(after, before.version + 1),
    )
