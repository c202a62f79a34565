"""Resizes as operators see them: what they do, waiting for their end, giving one up."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from metaserver.domain.audit_log import NewEvent
from metaserver.domain.errors import RequestRefused, version_conflict
from metaserver.domain.planning import ChangePlan
from metaserver.domain.pool_state import PoolState
from metaserver.domain.resize import Resize, given_up, resize_of, shown, status_of, to_clear
from metaserver.redis_io.fence import cannot_be_fenced, look
from metaserver.redis_io.shard_masters import ShardMasters
from metaserver.service import registration
from metaserver.service.change import PoolChange
from metaserver.service.context import ServiceContext

WITHIN = 5.0  # seconds that a call waits for the end of its resize
_LOOK_EVERY = 0.01  # seconds
_TRIES = 10  # of giving up a resize that goes on meanwhile
_LOOKED_WITHIN = 1.0  # seconds for all shards of a plan to say who is connected
_EVENTS = 50  # in which the end of a resize is looked for


@dataclass(frozen=True)
class AbandonedResize:
    """The outcome of giving up a resize, or with `dry_run` its preview."""

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
        "have every client hold commands on keys that move",
        "store the new placement",
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
    last = change.after
    while True:
        version = context.store.versions().get(change.pool)
        if last is None or version != last.version:
            last = context.state(change.pool).document
            now = resize_of(last)
            if now is None or now.id != begun.id:
                _refuse_given_up(context, change.pool, begun)
                return change.replace(after=last, version_after=last.version)
        if time.monotonic() >= end or context.stopping.is_set():
            break
        time.sleep(_LOOK_EVERY)
    status = status_of(last)
    if status is not None and not status["detail"]:
        status["detail"] = "waits for the metaserver that leads"
    return change.replace(after=last, version_after=last.version, resize=status)


def give_up(
    context: ServiceContext, actor: str, pool: str, *, dry_run: bool = False
) -> AbandonedResize:
    """Give up the resize under way: the placement stays as it was, a new shard is forgotten.

    Raises:
        RequestRefused: pool-not-found; resize-not-found; version-conflict.
        StorageError: nothing was changed.
    """
    for _ in range(_TRIES):
        state = context.state(pool)
        resize = resize_of(state.document)
        if resize is None:
            raise RequestRefused(
                "resize-not-found",
                f"No resize of pool {pool!r} is under way",
                "see how the pool is: cachemesh pool status",
            )
        result = AbandonedResize(
            dry_run, pool, f"give up the resize: {resize.summary}", _steps_back(state, resize), []
        )
        if dry_run:
            return result
        if _store_given_up(context, actor, state, resize):
            return replace(result, warnings=_forget_new(context, resize))
    raise version_conflict(pool, state.document.version, context.state(pool).document.version)


def _store_given_up(context: ServiceContext, actor: str, state: PoolState, resize: Resize) -> bool:
    before, after = state.document, given_up(state, resize)
    event = NewEvent(
        "resize.given-up",
        actor,
        before.pool,
        resize.target,
        f"{resize.summary}: given up while {shown(resize)}",
        after={"resize": resize.id, "version": before.version + 1},
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
    done = [f"store pool {pool} with its placement as it was"]
    new = [each for each in resize.placement.names if each not in state.document.placement.names]
    return done + [f"SENTINEL REMOVE {shard}" for shard in new]


def _refuse_given_up(context: ServiceContext, pool: str, begun: Resize) -> None:
    for event in context.store.events(pool, limit=_EVENTS):
        ended = (event.after or {}).get("resize") == begun.id
        if ended and event.action == "resize.given-up":
            raise RequestRefused(
                "resize-given-up",
                f"{begun.summary}: {event.actor} gave it up; nothing is changed",
                "see why it took long: cachemesh event list",
            )
