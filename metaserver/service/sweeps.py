"""Giving up the sweep of a drained shard whose instance does not come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from metaserver.domain.audit_log import NewEvent
from metaserver.domain.errors import RequestRefused
from metaserver.domain.pool_state import PoolState, Sweep
from metaserver.service import registration
from metaserver.service.context import ServiceContext, log
from metaserver.service.forgetting import end_drained


@dataclass(frozen=True)
class ForgottenShard:
    """The outcome of giving up a sweep, or with `dry_run` its preview."""

    dry_run: bool
    pool: str
    shard: str
    summary: str
    steps: Sequence[str]
    warnings: Sequence[str]

    def to_dict(self) -> dict[str, object]:
        """Return the outcome as docs/api.md shows it."""
        return asdict(self)


def forget(
    context: ServiceContext, actor: str, pool: str, shard: str, *, dry_run: bool = False
) -> ForgottenShard:
    """Delete the failed sweep of a drained shard, and have the Sentinels forget the shard.

    Raises:
        RequestRefused: pool-not-found; sweep-not-found; sweep-needed: the sweep may still succeed,
            or the shard is in the pool, where keys that it does not own would be served again;
            resize-in-progress: another change of the shard is in progress.
        StorageError: nothing was changed.
    """
    state = context.state(pool)
    sweep = _given_up(state, shard)
    where = sweep.master or "its master"
    count = len(state.document.sentinels)
    result = ForgottenShard(
        dry_run,
        pool,
        shard,
        f"forget drained shard {shard}",
        [f"no longer wait for {where}", f"SENTINEL REMOVE {shard} on {count} Sentinels"],
        [f"{where} may still hold keys of pool {pool}: empty it before it is used again"],
    )
    if dry_run:
        return result
    event = NewEvent("sweep.forgotten", actor, pool, shard, f"{result.summary}; {sweep.detail}")
    sentinels = state.document.sentinels
    intent = end_drained(context.store, sweep, sweep.master or "", sentinels, event)
    if intent is None:
        raise _no_sweep(pool, shard)
    log.info("%s by %s: %s", event.action, event.actor, event.detail)
    context.changed()
    late = registration.unregister(context, [intent])
    return replace(result, warnings=[*result.warnings, *late])


def _given_up(state: PoolState, shard: str) -> Sweep:
    sweep = next((each for each in state.sweeps if each.shard == shard), None)
    if sweep is None and shard in state.document.placement.names:
        raise RequestRefused(
            "sweep-needed",
            f"Shard {shard!r} is in pool {state.document.pool!r}: there is nothing to give up",
            "remove it first: cachemesh shard remove",
        )
    if sweep is None:
        raise _no_sweep(state.document.pool, shard)
    if not sweep.drained:
        raise RequestRefused(
            "sweep-needed",
            f"Shard {shard!r} is in pool {state.document.pool!r}, and may hold keys that it no "
            "longer owns",
            "start its master, and the sweep goes on; or remove the shard first",
        )
    if sweep.state != "failed":
        raise RequestRefused(
            "sweep-needed",
            f"Shard {shard!r} is still being emptied ({sweep.state}), which has not failed",
            "wait until it is done or has failed, which takes about 30 s",
        )
    return sweep


def _no_sweep(pool: str, shard: str) -> RequestRefused:
    return RequestRefused(
        "sweep-not-found",
        f"No keys are being removed from a shard {shard!r} of pool {pool!r}",
        "see which are: cachemesh pool status",
    )
