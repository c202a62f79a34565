"""Resizes as operators see them: what they do, waiting for their end, giving one up."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.degraded_pool import degraded_warnings
from metaserver.domain.errors import RequestRefused, version_conflict
from metaserver.domain.lost_shard import require_may_turn_back
from metaserver.domain.move_pace import in_words
from metaserver.domain.planning import ChangePlan
from metaserver.domain.pool_pause import warnings_while_paused
from metaserver.domain.pool_state import PoolState
from metaserver.domain.resize import (
    Resize,
    given_up,
    resize_of,
    to_clear,
)
from metaserver.domain.resize_move import paced, turned_back
from metaserver.domain.resize_status import outcome, shown, status_of
from metaserver.redis_io.fence import cannot_be_fenced, look
from metaserver.redis_io.shard_masters import ShardMasters
from metaserver.service import registration
from metaserver.service.change import PoolChange
from metaserver.service.context import ServiceContext

WITHIN = 5.0  # seconds that a call waits for the end of its resize
_LOOK_EVERY = 0.01  # seconds
TRIES = 10  # of a change of a resize that goes on meanwhile
_LOOKED_WITHIN = 1.0  # seconds for all shards of a plan to say who is connected
_HOLD = "have every client hold commands on keys that move"
_EVENTS = 50  # in which the end of a resize is looked for


@dataclass(frozen=True)
class ResizeChange:
    """What an operator has had done with a resize under way, or with `dry_run` its preview."""

    dry_run: bool
    pool: str
    summary: str
    steps: Sequence[str]
    warnings: Sequence[str]

    def to_dict(self) -> dict[str, object]:
        """Return the outcome as docs/api.md shows it."""
        return asdict(self)


def steps(plan: ChangePlan) -> list[str]:
    """Return what a resize does before its sweeps, in words."""
    cleared = [f"remove keys from {shard} that it does not own yet" for shard in to_clear(plan)]
    return [
        *cleared,
        _HOLD,
        *_moves(plan),
        "store the new placement",
    ]


def _moves(plan: ChangePlan) -> list[str]:
    if plan.strategy == "drop":
        return []
    return [
        f"move keys from {source} to {', '.join(targets)}"
        for source, targets in sorted(plan.targets.items())
    ]


def not_told(context: ServiceContext, plan: ChangePlan, masters: Mapping[str, str]) -> list[str]:
    """Return a warning for each shard that loses keys and has connections of other software.

    Args:
        masters: shard -> its last known master. One that does not answer has no warning.
    """
    if plan.before is None:
        return []
    asked = ShardMasters(context.config, context.networks, plan.before.sentinels, masters)
    seen = asked.ask(plan.losers, lambda _, connection: look(connection), within=_LOOKED_WITHIN)
    found = [
        cannot_be_fenced(shard, seen.masters[shard], each.others)
        for shard, each in seen.given.items()
    ]
    return [warning for warning in found if warning is not None]


def carried_out(context: ServiceContext, change: PoolChange) -> PoolChange:
    """Wait for the end of the resize that a change has begun, for a bounded time.

    Returns:
        The change with the document of now; with `resize` if it still goes on.

    Raises:
        RequestRefused: resize-given-up: an operator did, meanwhile; pool-not-found.
        StorageError: the resize goes on.
    """
    begun = None if change.after is None or change.dry_run else resize_of(change.after)
    if begun is None:
        return change
    end = time.monotonic() + WITHIN
    state: PoolState | None = None
    while True:
        if state is None or context.store.versions().get(change.pool) != state.document.version:
            state = context.state(change.pool)
            now = resize_of(state.document)
            if now is None or now.id != begun.id:
                _refuse_given_up(context, change.pool, begun)
                return _with_document(change, state.document)
        if time.monotonic() >= end or context.stopping.is_set():
            break
        time.sleep(_LOOK_EVERY)
    status = status_of(state)
    if status is not None and not status["detail"]:
        status["detail"] = "waits for the metaserver that leads"
    return _with_document(change, state.document).replace(resize=status)


def _with_document(change: PoolChange, document: PoolDocument) -> PoolChange:
    return change.replace(after=document, version_after=document.version)


def give_up(
    context: ServiceContext, actor: str, pool: str, *, dry_run: bool = False
) -> ResizeChange:
    """Give up the resize under way: the placement stays as it was, a new shard is forgotten.

    Keys that have moved already are moved back.

    Raises:
        RequestRefused: pool-not-found; resize-not-found; version-conflict; resize-given-up;
            resize-refused: keys would move back to a shard whose data is lost.
        StorageError: nothing was changed.
    """
    for _ in range(TRIES):
        state = context.state(pool)
        resize = under_way(state)
        waits = warnings_while_paused(state.document) if resize.has_moved else []
        summary = f"give up the resize: {resize.summary}"
        result = ResizeChange(dry_run, pool, summary, _steps_back(state, resize), waits)
        if resize.back:
            raise RequestRefused(
                "resize-given-up",
                f"{resize.summary}: it is given up already ({shown(resize)})",
                "wait until its keys are back: cachemesh pool status",
            )
        require_may_turn_back(state.document, resize)
        if dry_run:
            moving = (*state.document.placement.names, *resize.placement.names)
            shards = context.monitor.status(pool)["shards"]
            unwell = degraded_warnings(shards, moving if resize.has_moved else ())
            return replace(result, warnings=[*waits, *unwell])
        how = shown(resize)
        if resize.has_moved:
            after, action = turned_back(state.document, resize), "resize.turned-back"
        else:
            after, action = given_up(state, resize), "resize.given-up"
        if store_step(context, actor, state, after, action, f"given up while {how}"):
            forgotten = [] if resize.has_moved else _forget_new(context, resize)
            return replace(result, warnings=[*waits, *forgotten])
    raise version_conflict(pool, state.document.version, context.state(pool).document.version)


def set_pace(
    context: ServiceContext,
    actor: str,
    pool: str,
    pace: Mapping[str, Any],
    *,
    dry_run: bool = False,
) -> ResizeChange:
    """Pause or resume the move of keys under way, or bound its speed.

    Args:
        pace: some of ``paused``, ``keys_per_second``, ``max_latency``.

    Raises:
        RequestRefused: pool-not-found; resize-not-found; invalid-content: it moves no keys;
            version-conflict.
        StorageError: nothing was changed.
    """
    if not pace:
        raise RequestRefused(
            "invalid-content",
            "There is nothing to set",
            "give paused, keys_per_second or max_latency",
        )
    verb, told = in_words(pace)
    for _ in range(TRIES):
        state = context.state(pool)
        resize = under_way(state)
        if resize.strategy != "move":
            raise RequestRefused(
                "invalid-content",
                f"{resize.summary}: it moves no keys, so there is nothing to pause",
                "see how it is: cachemesh pool status",
            )
        waits = [] if pace.get("paused") else warnings_while_paused(state.document)
        result = ResizeChange(dry_run, pool, f"{verb} the resize: {resize.summary}", told, waits)
        if dry_run:
            return result
        after = paced(state.document, resize, pace)
        if store_step(context, actor, state, after, "resize.paced", ", ".join(told)):
            return result
    raise version_conflict(pool, state.document.version, context.state(pool).document.version)


def under_way(state: PoolState) -> Resize:
    """Return the resize under way; raise RequestRefused, resize-not-found, if there is none."""
    resize = resize_of(state.document)
    if resize is None:
        raise RequestRefused(
            "resize-not-found",
            f"No resize of pool {state.document.pool!r} is under way",
            "see how the pool is: cachemesh pool status",
        )
    return resize


def store_step(
    context: ServiceContext,
    actor: str,
    state: PoolState,
    after: PoolDocument,
    action: str,
    detail: str,
) -> bool:
    """Store what an operator has asked of a resize; return False if another was faster."""
    before, resize = state.document, under_way(state)
    event = NewEvent(
        action,
        actor,
        before.pool,
        resize.target,
        f"{resize.summary}: {detail}",
        after=outcome(resize, before.version + 1),
    )
    stored = context.store.put_document(after, before.version, event)
    if stored is None:
        return False
    context.announce(event, before.version, stored.version)
    return True


def _forget_new(context: ServiceContext, resize: Resize) -> list[str]:
    """Undo the registration of the shards that the resize would have added."""
    found = [each for each in context.store.intents() if each.id in resize.intents]
    return registration.unregister(
        context, [each for each in found if context.store.claim_intent(each.id)]
    )


def _steps_back(state: PoolState, resize: Resize) -> list[str]:
    pool = state.document.pool
    new = [each for each in resize.placement.names if each not in state.document.placement.names]
    if resize.has_moved:
        return [_HOLD, "move the keys back", *_removed(new)]
    done = [f"store pool {pool} with its placement as it was"]
    return done + _removed(new)


def _removed(shards: Sequence[str]) -> list[str]:
    return [f"SENTINEL REMOVE {shard}" for shard in shards]


def _refuse_given_up(context: ServiceContext, pool: str, begun: Resize) -> None:
    for event in context.store.events(pool, limit=_EVENTS):
        ended = (event.after or {}).get("resize") == begun.id
        if ended and event.action in ("resize.given-up", "resize.turned-back"):
            raise RequestRefused(
                "resize-given-up",
                f"{begun.summary}: {event.actor} gave it up; nothing is changed",
                "see why it took long: cachemesh event list",
            )
