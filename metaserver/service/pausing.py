"""Pausing a pool, and resuming it; `metaserver.domain.pool_pause` says what that means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.errors import RequestRefused, version_conflict
from metaserver.domain.pool_pause import (
    PoolPause,
    pause_of,
    paused,
    require_not_paused,
    resumed,
    steps_of_pause,
    steps_of_resumption,
    told_pause,
    warnings_of_pause,
    warnings_of_resumption,
)
from metaserver.domain.pool_state import PoolState
from metaserver.process.clock import rfc3339
from metaserver.service.context import ServiceContext

_TRIES = 10  # of a change of a pool whose resize goes on meanwhile


@dataclass(frozen=True)
class PauseChange:
    """What an operator has had done with the pause of a pool, or with `dry_run` its preview.

    Attributes:
        pause: the pause after the change, as in the status; None: the pool is not paused.
    """

    dry_run: bool
    pool: str
    summary: str
    steps: Sequence[str]
    warnings: Sequence[str]
    pause: Mapping[str, Any] | None

    def to_dict(self) -> dict[str, object]:
        """Return the outcome as docs/api.md shows it."""
        return asdict(self)


@dataclass(frozen=True)
class _Step:
    """A change of the pause, as it is planned on one state of the pool."""

    after: PoolDocument
    event: NewEvent
    summary: str
    steps: Sequence[str]
    warnings: Sequence[str]


def pause(
    context: ServiceContext, actor: str, pool: str, reason: str, *, dry_run: bool = False
) -> PauseChange:
    """Have the metaserver do nothing on a pool by itself, and refuse changes of its placement.

    Args:
        reason: in the operator's words, for people to read; "" for none.

    Raises:
        RequestRefused: pool-not-found; pool-paused; version-conflict.
        StorageError: nothing was changed.
    """

    def step(state: PoolState) -> _Step:
        require_not_paused(state.document)
        begun = PoolPause(actor, rfc3339(), reason)
        event = NewEvent("pool.paused", actor, pool, detail=reason or "no reason was given")
        after = paused(state.document, begun)
        steps, warnings = steps_of_pause(state), warnings_of_pause(state)
        return _Step(after, event, f"pause pool {pool}", steps, warnings)

    return _carried_out(context, pool, step, dry_run)


def resume(context: ServiceContext, actor: str, pool: str, *, dry_run: bool = False) -> PauseChange:
    """End the pause of a pool.

    Raises:
        RequestRefused: pool-not-found; pool-not-paused; version-conflict.
        StorageError: nothing was changed.
    """

    def step(state: PoolState) -> _Step:
        over = pause_of(state.document)
        if over is None:
            raise RequestRefused(
                "pool-not-paused",
                f"Pool {pool!r} is not paused",
                f"see how it is: cachemesh pool status {pool}",
            )
        event = NewEvent("pool.resumed", actor, pool, detail=f"it was paused {over}")
        after = resumed(state.document)
        steps, warnings = steps_of_resumption(state), warnings_of_resumption(state)
        return _Step(after, event, f"resume pool {pool}", steps, warnings)

    return _carried_out(context, pool, step, dry_run)


def _carried_out(
    context: ServiceContext, pool: str, plan: Callable[[PoolState], _Step], dry_run: bool
) -> PauseChange:
    """Make a change, on the next state where a step of a resize was stored meanwhile."""
    for _ in range(_TRIES):
        state = context.state(pool)
        before, step = state.document, plan(state)
        told = told_pause(step.after)
        change = PauseChange(dry_run, pool, step.summary, step.steps, step.warnings, told)
        if dry_run:
            return change
        stored = context.store.put_document(step.after, before.version, step.event)
        if stored is not None:
            context.announce(step.event, before.version, stored.version)
            return change
    raise version_conflict(pool, before.version, context.state(pool).document.version)
